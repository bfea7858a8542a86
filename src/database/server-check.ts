import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { DatabaseStartError } from './database-start.error.js';
import type { StartLog } from './start-log.js';

/** How long a server that is just coming up is waited for. */
const patienceMs = 30_000;
const probes = 3;

/**
 * Fails unless the server at `url` is a PostgreSQL 14 or later that may be written to, in UTF-8, and holds sessions: advisory
 * locks and LISTEN need them, and a pooler in transaction mode has none. Throws DatabaseStartError, without the password.
 */
export async function verifyServer(url: string, log: StartLog): Promise<void> {
  const where = placeOf(url);
  const clients: pg.Client[] = [];
  try {
    clients.push(await connectPatiently(url, where, log));
    await checkServer(clients[0] as pg.Client, where);
    while (clients.length < probes) clients.push(await connectAnother(url, where));
    await checkSessions(clients, where);
  } catch (error) {
    if (error instanceof DatabaseStartError) throw error;
    throw new DatabaseStartError(`The database at ${where} cannot be used: ${explain(error)}`);
  } finally {
    await Promise.all(clients.map((client) => client.end().catch(() => {})));
  }
}

async function connectPatiently(url: string, where: string, log: StartLog): Promise<pg.Client> {
  const deadline = performance.now() + patienceMs;
  for (let told = false; ;) {
    try {
      return await connect(url);
    } catch (error) {
      const left = deadline - performance.now();
      if (!isPassing(error) || left < 0) throw error;
      if (!told) log.warn(`Waiting up to ${patienceMs / 1000} s for the database at ${where}: ${explain(error)}`);
      told = true;
      await delay(Math.min(500, left));
    }
  }
}

async function connectAnother(url: string, where: string): Promise<pg.Client> {
  try {
    const client = await connect(url);
    // A pooler answers the connection itself; a backend is asked for with the first query.
    await client.query('SELECT 1');
    return client;
  } catch (error) {
    throw new DatabaseStartError(
      `The database at ${where} does not give this user ${probes} sessions at once (${explain(error)}). Raise the limit of the pooler or of PostgreSQL; Causeway uses up to 20.`,
    );
  }
}

async function connect(url: string): Promise<pg.Client> {
  const client = new pg.Client({
    connectionString: url,
    application_name: 'causeway start',
    connectionTimeoutMillis: 10_000,
    query_timeout: 10_000,
  });
  client.on('error', () => {});
  await client.connect();
  return client;
}

async function checkServer(client: pg.Client, where: string): Promise<void> {
  const { rows } = await client.query<{
    number: number;
    version: string;
    standby: boolean;
    encoding: string;
    create: boolean;
    name: string;
  }>(`SELECT current_setting('server_version_num')::int AS number, current_setting('server_version') AS version,
        pg_is_in_recovery() OR current_setting('default_transaction_read_only') = 'on' AS standby,
        current_setting('server_encoding') AS encoding, current_database() AS name,
        has_database_privilege(current_database(), 'CREATE') AS create`);
  const found = rows[0];
  if (found === undefined) throw new Error('it answers nothing');
  const refuse = (reason: string) => new DatabaseStartError(`The database at ${where} ${reason}`);
  if (found.number < 140_000) throw refuse(`is PostgreSQL ${found.version}; 14 or later is needed.`);
  if (found.standby) throw refuse('is read-only (a standby?). DATABASE_URL must name the primary.');
  if (found.encoding !== 'UTF8') {
    throw refuse(
      `has the encoding ${found.encoding}. Make one with: CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0`,
    );
  }
  if (!found.create) {
    throw refuse(
      `does not let this user make schemas. Run there: GRANT CREATE ON DATABASE "${found.name}" TO the user`,
    );
  }
}

/**
 * Each client marks its session and is to find the mark again while another one holds a transaction: a pooler hands the
 * session of an idle client to the next one that asks.
 */
async function checkSessions(clients: pg.Client[], where: string): Promise<void> {
  const pooled = new DatabaseStartError(
    `The database at ${where} is behind a pooler that does not hold sessions (transaction or statement mode). ` +
      'Point DATABASE_URL at PostgreSQL itself, or at a pooler in session mode.',
  );
  const marks = new Map(clients.map((client) => [client, randomUUID()]));
  for (const [client, mark] of marks) await client.query(`SELECT set_config('causeway.mark', $1, false)`, [mark]);
  for (const holder of clients) {
    try {
      await holder.query('BEGIN');
      for (const [client, mark] of marks) {
        const { rows } = await client.query<{ mark: string }>(`SELECT current_setting('causeway.mark', true) AS mark`);
        if (rows[0]?.mark !== mark) throw pooled;
      }
      await holder.query('ROLLBACK');
    } catch (error) {
      // Statement mode refuses BEGIN; with few sessions to hand out, the others wait for the holder's until they give up.
      if (/pooling mode|timeout/i.test(explain(error))) throw pooled;
      throw error;
    }
  }
}

/** The server is coming up, is full for a moment, or its name is not known yet (containers that start together). */
function isPassing(error: unknown): boolean {
  const { code = '' } = error as { code?: string };
  const passing = ['ECONNREFUSED', 'ECONNRESET', 'ENOENT', 'ENOTFOUND', 'EAI_AGAIN', 'ETIMEDOUT', 'EHOSTUNREACH'];
  return [...passing, '57P03', '53300'].includes(code) || /timeout|terminated unexpectedly/i.test(explain(error));
}

function explain(error: unknown): string {
  const { code = '', message = String(error), errors } = error as { code?: string; message?: string; errors?: Error[] };
  // A name with several addresses fails with an error for each and no message of its own.
  if (message === '' && errors !== undefined) return [...new Set(errors.map((one) => one.message))].join(', ');
  return message || code || 'no reason given';
}

/** Host, port and database, for messages. */
function placeOf(url: string): string {
  try {
    const { hostname, port, pathname, searchParams } = new URL(url);
    return `${searchParams.get('host') ?? hostname}${port === '' ? '' : `:${port}`}${pathname}`;
  } catch {
    throw new DatabaseStartError('DATABASE_URL is not a URL: postgresql://user:password@host:5432/database');
  }
}
