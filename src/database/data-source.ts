import pg from 'pg';
import type { DataSourceOptions, Logger } from 'typeorm';
import { entities } from './entities.js';
import { migrations } from './migrations/migrations.js';
import { SnakeNamingStrategy } from './snake-naming.strategy.js';

export interface DataSourceExtra {
  /** Connections at most, 10 unless told. */
  poolSize?: number;
  /** Shown in pg_stat_activity. */
  applicationName?: string;
  /** A statement that runs longer is cancelled, 30 s unless told; 0 never. */
  statementTimeoutMs?: number;
}

/** The one set of TypeORM options, for server and command line. Nothing is synchronised: migrations make the schema. */
export function dataSourceOptions(url: string, extra: DataSourceExtra = {}): DataSourceOptions {
  const timeout = extra.statementTimeoutMs ?? 30_000;
  return {
    type: 'postgres',
    url,
    entities,
    migrations,
    migrationsTransactionMode: 'each',
    namingStrategy: new SnakeNamingStrategy(),
    synchronize: false,
    logger: silent,
    // gen_random_uuid() is built in: no extension is needed, and none is asked for.
    uuidExtension: 'pgcrypto',
    installExtensions: false,
    poolSize: extra.poolSize ?? 10,
    applicationName: extra.applicationName ?? 'causeway',
    connectTimeoutMS: 10_000,
    // A connection that the server dropped while it was idle: the pool opens another one when it is needed.
    poolErrorHandler: () => {},
    extra: {
      keepAlive: true,
      // SET and not start-up parameters, which poolers in session mode refuse.
      Client: DatabaseClient,
      onConnect: (client: pg.ClientBase) =>
        client.query(
          `SET timezone = 'UTC'; SET statement_timeout = ${timeout}; SET idle_in_transaction_session_timeout = ${timeout * 2}`,
        ),
    },
  };
}

type Connected = ((error: Error) => void) | ((error: null, client: pg.Client) => void);

/**
 * Whoever catches a connection that could not be made gets the bare error of a socket, which might be any socket's: here
 * it is marked as PostgreSQL marks its own words that end a session.
 */
class DatabaseClient extends pg.Client {
  override connect(): Promise<pg.Client>;
  override connect(callback: Connected): void;
  override connect(callback?: Connected): Promise<pg.Client> | void {
    // The pool, which makes all of them, gives a callback.
    if (callback === undefined) return super.connect();
    super.connect((error: Error | null) => {
      if (error) Object.assign(error, { severity: 'FATAL' });
      (callback as (error: Error | null) => void)(error);
    });
  }
}

/** What fails is thrown; TypeORM's own lines would hold parameters, and so secrets. */
const silent: Logger = {
  logQuery: () => {},
  logQueryError: () => {},
  logQuerySlow: () => {},
  logSchemaBuild: () => {},
  logMigration: () => {},
  log: () => {},
};
