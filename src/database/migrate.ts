import pg from 'pg';
import { DataSource } from 'typeorm';
import { DatabaseStartError } from './database-start.error.js';
import { dataSourceOptions } from './data-source.js';
import type { StartLog } from './start-log.js';

/** Any number, as long as it stays. */
const lockKey = 4_212_031_977;

/**
 * Brings the schema up to date, each migration in its own transaction. Two servers that start at once: one waits. Throws
 * DatabaseStartError when the database was made by a later release.
 */
export async function migrate(url: string, log: StartLog): Promise<void> {
  const gate = new pg.Client({ connectionString: url, application_name: 'causeway migrate', keepAlive: true });
  gate.on('error', () => {});
  const dataSource = new DataSource(
    dataSourceOptions(url, { poolSize: 2, applicationName: 'causeway migrate', statementTimeoutMs: 0 }),
  );
  try {
    await gate.connect();
    await enter(gate, log);
    await dataSource.initialize();
    await refuseForeign(dataSource);
    const done = await dataSource.runMigrations({ transaction: 'each' });
    for (const { name } of done) log.info(`Migrated the database: ${name}`);
  } finally {
    if (dataSource.isInitialized) await dataSource.destroy();
    // The end of the session gives the lock back.
    await gate.end();
  }
}

/**
 * What TypeORM would change to make the schema fit the entities, as SQL; empty when migrations and entities agree. It looks
 * at the tables of entities only, so neither pg-boss nor the partitions of a table count.
 */
export async function schemaDrift(dataSource: DataSource): Promise<string[]> {
  const { upQueries } = await dataSource.driver.createSchemaBuilder().log();
  return upQueries.map(({ query }) => query);
}

async function enter(gate: pg.Client, log: StartLog): Promise<void> {
  const { rows } = await gate.query<{ got: boolean }>('SELECT pg_try_advisory_lock($1) AS got', [lockKey]);
  if (rows[0]?.got === true) return;
  log.info('Waiting for another server that migrates the database');
  await gate.query('SELECT pg_advisory_lock($1)', [lockKey]);
}

async function refuseForeign(dataSource: DataSource): Promise<void> {
  const known = new Set(dataSource.migrations.map((migration) => migration.name ?? migration.constructor.name));
  const [table] = await dataSource.query<{ name: string | null }[]>(`SELECT to_regclass('migrations')::text AS name`);
  if (!table?.name) return;
  const rows = await dataSource.query<{ name: string }[]>('SELECT name FROM migrations ORDER BY id');
  const foreign = rows.filter(({ name }) => !known.has(name));
  if (foreign.length === 0) return;
  throw new DatabaseStartError(
    `The database is newer than this release of Causeway: it has ${foreign.map(({ name }) => name).join(', ')}. ` +
      'Start the release that made it, or restore a backup of this one.',
  );
}
