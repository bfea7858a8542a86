import { DataSource } from 'typeorm';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { dataSourceOptions } from '../../src/database/data-source.js';
import { migrate, schemaDrift } from '../../src/database/migrate.js';
import { migrations } from '../../src/database/migrations/migrations.js';
import { asOwner, createDatabase, type TestDatabase } from '../support/database.js';

let database: TestDatabase;
let lines: string[];
const log = {
  info: (line: string) => void lines.push(line),
  warn: (line: string) => void lines.push(line),
  error: (line: string) => void lines.push(line),
};

beforeEach(async () => {
  lines = [];
  database = await createDatabase({ empty: true });
});

afterEach(async () => {
  await database.drop();
});

const applied = () =>
  asOwner(database.name, async (client) => {
    const { rows } = await client.query<{ name: string }>('SELECT name FROM migrations ORDER BY id');
    return rows.map(({ name }) => name);
  });

test('migrations make exactly the schema that the entities describe', async () => {
  await migrate(database.url, log);
  const source = await new DataSource(dataSourceOptions(database.url, { poolSize: 1 })).initialize();
  try {
    expect(await schemaDrift(source)).toEqual([]);
  } finally {
    await source.destroy();
  }
});

test('servers that start at once run each migration once', async () => {
  await Promise.all([1, 2, 3].map(() => migrate(database.url, log)));
  expect(await applied()).toEqual(migrations.map(({ name }) => name));
});

test('migrations are in the order of their times, and named by them', () => {
  const times = migrations.map(({ name }) => Number(/\d{13}$/.exec(name)?.[0]));
  expect(times).toEqual([...times].sort((a, b) => a - b));
  expect(new Set(times).size).toBe(times.length);
});

test('a database that a later release migrated is refused and left as it is', async () => {
  await migrate(database.url, log);
  await asOwner(database.name, (client) =>
    client.query(`INSERT INTO migrations (timestamp, name) VALUES (9999999999999, 'Later9999999999999')`),
  );
  await expect(migrate(database.url, log)).rejects.toThrow(
    'The database is newer than this release of Causeway: it has Later9999999999999.',
  );
});

test('a migration that fails leaves nothing of itself, and those before it stay', async () => {
  class Broken9999999999999 {
    readonly name = 'Broken9999999999999';
    async up(runner: { query(sql: string): Promise<unknown> }): Promise<void> {
      await runner.query('CREATE TABLE half_made (id integer)');
      await runner.query('SELECT 1 / 0');
    }
    async down(): Promise<void> {}
  }
  migrations.push(Broken9999999999999 as unknown as (typeof migrations)[number]);
  try {
    await expect(migrate(database.url, log)).rejects.toThrow('division by zero');
  } finally {
    migrations.pop();
  }
  expect(await applied()).toEqual(migrations.map(({ name }) => name));
  const { rows } = await asOwner(database.name, (client) => client.query(`SELECT to_regclass('half_made') AS found`));
  expect(rows).toEqual([{ found: null }]);
});
