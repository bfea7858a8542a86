import {
  Inject,
  Injectable,
  type OnApplicationBootstrap,
  type OnApplicationShutdown,
  type OnModuleDestroy,
} from '@nestjs/common';
import pg from 'pg';
import PgBoss from 'pg-boss';
import { Config } from '../config/config.js';
import { DATABASE_URL_TOKEN } from '../database-url.js';
import { AppLogger } from '../logging/app-logger.js';
import type { SqlExecutor } from '../sql-executor.js';
import { JobQueue, type JobHandler, type JobOptions } from './job-queue.js';

const SCHEMA = 'pgboss';
const STATEMENT_LIMIT_MS = 60_000;
const STOP_LIMIT_MS = 20_000;
const MAINTENANCE_SECONDS = 60;

/** How one job is sent. */
export interface SendOptions {
  /** The transaction that the job belongs to: it is there when that commits, and never otherwise. */
  manager?: SqlExecutor;
  /** With `singletonSeconds`, or in a queue with a policy: a second job of the same key is not made. */
  singletonKey?: string;
  /** At most one job of the key in each slot of so many seconds. */
  singletonSeconds?: number;
  /** A moment, or seconds from now. */
  startAfter?: Date | number;
  /** Higher goes first; 0 by default. */
  priority?: number;
  retryLimit?: number;
  retryDelay?: number;
  retryBackoff?: boolean;
  expireInSeconds?: number;
}

/**
 * Work that outlives the process that asked for it, in pg-boss's tables of the schema `pgboss`. Handlers run where ROLE
 * is `all` or `worker`; every role may send. A job runs at least once: handlers must bear a second run.
 */
@Injectable()
export class JobsService implements OnApplicationBootstrap, OnModuleDestroy, OnApplicationShutdown {
  private readonly queues = new Map<string, JobQueue>();
  private readonly pool: pg.Pool;
  private readonly boss: PgBoss;
  private starting: Promise<void> | null = null;
  private stopped = false;
  private reachable = true;

  constructor(
    @Inject(DATABASE_URL_TOKEN) databaseUrl: string,
    private readonly config: Config,
    private readonly log: AppLogger,
  ) {
    this.pool = new pg.Pool({
      connectionString: databaseUrl,
      application_name: 'jobs',
      max: 4,
      connectionTimeoutMillis: 10_000,
      query_timeout: STATEMENT_LIMIT_MS,
      keepAlive: true,
    });
    this.pool.on('error', (error) => log.warn('jobs lost a database connection', { err: error }));
    this.boss = new PgBoss({
      schema: SCHEMA,
      db: { executeSql: (sql, values) => this.execute(sql, values) },
      schedule: false,
      maintenanceIntervalSeconds: MAINTENANCE_SECONDS,
      retryLimit: 5,
      retryDelay: 5,
      retryBackoff: true,
    });
    this.boss.on('error', (error) => log.warn('jobs have trouble with the database', { err: error }));
  }

  /**
   * Names a queue and what its jobs do, once, before the application has started. Also in processes that only send:
   * sending to a queue that nobody defined is an error.
   */
  define<Data extends object>(name: string, handler: JobHandler<Data>, options: JobOptions = {}): void {
    if (this.queues.has(name)) throw new Error(`The job queue ${name} is defined twice`);
    if (this.starting) throw new Error(`The job queue ${name} is defined after the start`);
    this.queues.set(name, new JobQueue(name, handler as JobHandler<object>, options, this.boss, this.log));
  }

  onApplicationBootstrap(): Promise<void> {
    return this.start();
  }

  /** Makes tables and queues and, where ROLE allows it, starts working. Rejects when the database cannot be reached. */
  start(): Promise<void> {
    this.starting ??= this.prepare();
    return this.starting;
  }

  /**
   * Makes a job and returns its id, or null when a singleton option says that there is one already. Inside a
   * transaction of the caller, call `wake` after the commit where the usual second or two of waiting is too long.
   */
  async send(name: string, data: object, options: SendOptions = {}): Promise<string | null> {
    if (!this.queues.has(name)) throw new Error(`No job queue is called ${name}`);
    await this.start();
    const { manager, ...rest } = options;
    const db = manager && {
      executeSql: async (sql: string, values: unknown[]) => ({ rows: (await manager.query(sql, values)) as object[] }),
    };
    const id = await this.boss.send(name, data, db ? { ...rest, db } : rest);
    if (!manager && id !== null) this.wake(name);
    return id;
  }

  /** Has this process, if it works at all, look at once for jobs of the queue. */
  wake(name: string): void {
    this.queues.get(name)?.wake();
  }

  /** Takes no more jobs and waits, at most 20 s, for those that run; what is left then is handed back for a retry. */
  async onModuleDestroy(): Promise<void> {
    this.stopped = true;
    await this.starting?.catch(() => undefined);
    await Promise.all([...this.queues.values()].map((queue) => queue.stop(STOP_LIMIT_MS)));
  }

  /** Ends the connections, after the last request that might still send. */
  async onApplicationShutdown(): Promise<void> {
    await this.boss.stop({ graceful: false }).catch(() => undefined);
    await this.pool.end();
  }

  private async prepare(): Promise<void> {
    // One process at a time: two that make different queues at once would wait for each other's locks for ever.
    const gate = await this.pool.connect();
    gate.on('error', () => undefined);
    try {
      await gate.query("SELECT pg_advisory_lock(hashtextextended('jobs/prepare', 0))");
      await this.boss.start();
      for (const queue of this.queues.values()) await queue.create();
    } finally {
      // The end of the session gives the lock back.
      gate.release(true);
    }
    if (this.config.role === 'api' || this.stopped) return;
    for (const queue of this.queues.values()) queue.start();
  }

  private async execute(sql: string, values: unknown[]): Promise<{ rows: unknown[] }> {
    const client = await this.connect();
    let failed = true;
    // A checked-out client that dies emits `error`, which would end the process if nobody listened.
    const ignore = () => undefined;
    client.on('error', ignore);
    try {
      const result = await client.query(sql, values);
      failed = false;
      return result;
    } finally {
      client.off('error', ignore);
      // Some of pg-boss's statements are a whole BEGIN … COMMIT: one that failed leaves the session in its transaction.
      client.release(failed);
    }
  }

  private async connect(): Promise<pg.PoolClient> {
    try {
      const client = await this.pool.connect();
      this.reachable = true;
      return client;
    } catch (error) {
      // Said once for each outage: queues ask every second or two.
      if (this.reachable && !this.stopped) this.log.warn('jobs cannot reach the database', { err: error });
      this.reachable = false;
      throw error;
    }
  }
}
