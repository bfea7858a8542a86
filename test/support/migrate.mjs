// Brings a database up to date with the built product's migrations: node migrate.mjs <product folder> <url>
import { createRequire } from 'node:module';
import { join } from 'node:path';

const [product, url] = process.argv.slice(2);
const { DataSource } = createRequire(join(product, 'package.json'))('typeorm');
const { dataSourceOptions } = await import(join(product, 'dist/database/data-source.js'));
const source = new DataSource(dataSourceOptions(url, { applicationName: 'migrate' }));
await source.initialize();
await source.runMigrations();
await source.destroy();
