import { execFile, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { closeSync, existsSync, fstatSync, openSync, readSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { chmod, chown, copyFile, lstat, mkdir, mkdtemp, open, rename, rm, stat, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { programPath } from '../platform/config/program-path.js';
import { DatabaseStartError } from './database-start.error.js';
import type { FileLock } from './file-lock.js';
import type { PostgresAccount } from './postgres-account.js';
import type { PostgresBinaries } from './postgres-binaries.js';
import type { StartLog } from './start-log.js';

const run = promisify(execFile);

const user = 'causeway';
const port = 5432;
/** For programs that prepare the data. */
const programLimitMs = 300_000;
const logLimitBytes = 10_000_000;

interface Connection {
  readonly password: string;
  /** Folder of the Unix socket, the only way in. */
  readonly socketFolder: string;
}

/** A server that was just started. */
export interface Launched {
  /** Null while it lives, else how it ended. */
  readonly ended: () => string | null;
  /** The last lines of its log since the start. */
  readonly said: () => string;
}

/** What lies below `DATA_DIR/postgres`, and the processes that work on it. Who calls holds the start lock. */
export class PostgresCluster {
  readonly data: string;
  readonly logFile: string;
  /** Locked by all processes of the server, and so for as long as one of them lives. */
  readonly aliveFile: string;
  readonly connectionFile: string;
  private connection: Connection | null = null;

  constructor(
    readonly home: string,
    private readonly log: StartLog,
  ) {
    this.data = join(home, 'data');
    this.logFile = join(home, 'postgres.log');
    this.aliveFile = join(home, 'postmaster.lock');
    this.connectionFile = join(home, 'connection.json');
  }

  /** How to connect to one of its databases. Holds the password: not for logs. */
  url(database: string): string {
    if (this.connection === null) throw new Error('The way into the embedded database is not known');
    const { password, socketFolder } = this.connection;
    return `postgresql://${user}:${password}@localhost:${port}/${database}?host=${encodeURIComponent(socketFolder)}&sslmode=disable`;
  }

  /** Reads the connection file; what is known stays when it is lost. False when nothing is. */
  readConnection(): boolean {
    this.connection = this.storedConnection() ?? this.connection;
    return this.connection !== null;
  }

  get hasConnection(): boolean {
    return this.connection !== null;
  }

  /** The password that we have is not the right one. */
  forgetConnection(): void {
    this.connection = null;
  }

  get hasSocket(): boolean {
    return this.connection !== null && existsSync(join(this.connection.socketFolder, `.s.PGSQL.${port}`));
  }

  /** Null: there is no data yet. */
  dataMajor(): number | null {
    try {
      return Number(readFileSync(join(this.data, 'PG_VERSION'), 'utf8'));
    } catch (error) {
      if ((error as { code?: string }).code === 'ENOENT' && !existsSync(this.data)) return null;
      throw new DatabaseStartError(
        `${this.data} cannot be read as a database: ${error instanceof Error ? error.message : String(error)}`,
      );
    }
  }

  /** The pid of the living server on our data folder; a number that was reused is not it. */
  postmaster(): number | null {
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

  pidFile(): { pid: number; status: string } | null {
    try {
      const lines = readFileSync(join(this.data, 'postmaster.pid'), 'utf8').split('\n');
      return { pid: Number(lines[0]), status: lines[7]?.trim() ?? '' };
    } catch {
      return null;
    }
  }

  /** Asks the server for a fast shutdown; false when there is none. */
  interrupt(): boolean {
    const pid = this.postmaster();
    if (pid === null) return false;
    try {
      process.kill(pid, 'SIGINT');
    } catch {
      // It ended just now.
    }
    return true;
  }

  /** The pid file of a server that died, even when the number is somebody else's by now. */
  async dropStalePidFile(): Promise<void> {
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
  killOrphans(): void {
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

  /** Makes the data on the first start; else sees to owner, password and socket folder. */
  async prepare(binaries: PostgresBinaries, account: PostgresAccount, dataMajor: number | null): Promise<void> {
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

  /** Starts the server in a session of its own. It holds `alive` from now on. */
  async launch(binaries: PostgresBinaries, account: PostgresAccount, alive: FileLock): Promise<Launched> {
    await this.boundLog();
    const logFd = openSync(this.logFile, 'a', 0o600);
    const logStart = fstatSync(logFd).size;
    const settings = {
      listen_addresses: '',
      port: String(port),
      unix_socket_directories: this.connection?.socketFolder ?? '',
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
    return { ended: () => ended, said: () => tailOf(this.logFile, logStart) };
  }

  /** The server goes on writing to the same file, from its start again. */
  async boundLog(): Promise<void> {
    const size = await stat(this.logFile).then(
      (found) => found.size,
      () => 0,
    );
    if (size < logLimitBytes) return;
    await copyFile(this.logFile, `${this.logFile}.1`);
    await truncate(this.logFile);
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
    this.log.warn(`${this.connectionFile} was lost; giving the database a new password`);
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

  private storedConnection(): Connection | null {
    let text: string;
    try {
      text = readFileSync(this.connectionFile, 'utf8');
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
    await rename(path, this.connectionFile);
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

  /** Below DATA_DIR; a path that the kernel finds too long for a socket goes to a private folder of the temporary one. */
  private async makeSocketFolder(account: PostgresAccount): Promise<string> {
    const usual = join(this.home, 'run');
    const short = Buffer.byteLength(join(usual, `.s.PGSQL.${port}`)) <= 100;
    const hash = createHash('sha256').update(dirname(this.home)).digest('hex').slice(0, 16);
    const folder = short ? usual : join(tmpdir(), `causeway-${hash}`);
    await mkdir(folder, { mode: 0o700 }).catch((error: { code?: string }) => {
      if (error.code !== 'EEXIST') throw error;
    });
    const found = await lstat(folder);
    // Anybody may make a folder of that name among the temporary ones.
    const ours = short || [process.getuid?.(), account.owner?.uid].includes(found.uid);
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
    await run('chown', ['-R', '-h', `${owner.uid}:${owner.gid}`, folder], { timeout: programLimitMs });
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
    const env = { PATH: programPath, LC_ALL: 'C', TZ: 'UTC' };
    return { env, cwd: '/', timeout: programLimitMs, ...owner };
  }
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
