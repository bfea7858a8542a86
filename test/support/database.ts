import { randomBytes } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { Client } from 'pg';
import { mustRun } from './command.js';
import { runFact } from './run.js';

export interface TestDatabase {
  /** Over a unix socket, so it works from every network namespace. For pg, TypeORM and libpq alike. */
  readonly url: string;
  readonly name: string;
  /** Ends all connections and removes it. */
  drop(): Promise<void>;
}

const templateName = 'causeway_template';
// Any number that only this file locks.
const templateLock = 7_401_905;

/** A database of its own in the run's cluster: up to date with all migrations, or empty. */
export async function createDatabase(options: { empty?: boolean } = {}): Promise<TestDatabase> {
  const name = `test_${randomBytes(6).toString('hex')}`;
  await asOwner('postgres', async (client) => {
    if (!options.empty) await ensureTemplate(client);
    await client.query(`CREATE DATABASE ${name} TEMPLATE ${options.empty ? 'template0' : templateName}`);
  });
  return {
    name,
    url: databaseUrl(name),
    drop: () =>
      asOwner('postgres', async (client) => {
        await client.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
      }),
  };
}

/** Runs `work` on a connection of its own. */
export async function asOwner<T>(database: string, work: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({ connectionString: databaseUrl(database) });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

function databaseUrl(name: string): string {
  return `postgres://causeway@localhost/${name}?host=${encodeURIComponent(runFact('CAUSEWAY_TEST_POSTGRES'))}`;
}

/** Migrated once a run, by whichever worker comes first; one that was cut short is not marked and made again. */
async function ensureTemplate(client: Client): Promise<void> {
  await client.query('SELECT pg_advisory_lock($1)', [templateLock]);
  try {
    const found = await client.query('SELECT 1 FROM pg_database WHERE datname = $1 AND datistemplate', [templateName]);
    if (found.rowCount !== 0) return;
    await client.query(`DROP DATABASE IF EXISTS ${templateName} WITH (FORCE)`);
    await client.query(`CREATE DATABASE ${templateName} TEMPLATE template0`);
    const script = fileURLToPath(new URL('migrate.mjs', import.meta.url));
    const argv = [process.execPath, script, runFact('CAUSEWAY_TEST_PRODUCT'), databaseUrl(templateName)];
    await mustRun(argv, { timeoutMs: 60_000 });
    await client.query(`ALTER DATABASE ${templateName} WITH IS_TEMPLATE true ALLOW_CONNECTIONS false`);
  } finally {
    await client.query('SELECT pg_advisory_unlock($1)', [templateLock]);
  }
}
