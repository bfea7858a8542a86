import { resolve } from 'node:path';
import type { Config } from '../platform/config/config.js';
import { EmbeddedPostgres } from './embedded-postgres.js';
import { verifyServer } from './server-check.js';
import type { StartLog } from './start-log.js';

/** A database that is up and fit for use. */
export interface Database {
  /** Holds a password: not for logs. */
  readonly url: string;
  readonly embedded: boolean;
  /** To be called last, when all connections are closed. */
  close(): Promise<void>;
}

/**
 * The database at DATABASE_URL, else the embedded one. Throws DatabaseStartError.
 *
 * @param options exclusive: false for the command line, which shares DATA_DIR with a running server.
 */
export async function openDatabase(
  config: Pick<Config, 'databaseUrl' | 'dataDir'>,
  log: StartLog,
  options: { exclusive?: boolean } = {},
): Promise<Database> {
  if (config.databaseUrl !== null) {
    await verifyServer(config.databaseUrl, log);
    return { url: config.databaseUrl, embedded: false, close: () => Promise.resolve() };
  }
  const postgres = await EmbeddedPostgres.open(resolve(config.dataDir), { exclusive: options.exclusive ?? true }, log);
  return { url: postgres.url, embedded: true, close: () => postgres.close() };
}
