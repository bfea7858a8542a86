// Prints, as JSON, the statements that would make a migrated database fit the entities: node drift.mjs <product> <url>
import { createRequire } from 'node:module';
import { join } from 'node:path';

const [product, url] = process.argv.slice(2);
const { DataSource } = createRequire(join(product, 'package.json'))('typeorm');
const { dataSourceOptions } = await import(join(product, 'dist/database/data-source.js'));
const source = new DataSource(dataSourceOptions(url, { applicationName: 'drift' }));
await source.initialize();
const { upQueries } = await source.driver.createSchemaBuilder().log();
console.log(JSON.stringify(upQueries.map(({ query }) => query)));
await source.destroy();
