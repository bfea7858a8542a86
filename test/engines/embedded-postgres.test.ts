import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Client } from 'pg';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { mustRun } from '../support/command.js';
import { runFact } from '../support/run.js';
import { eventually } from '../support/wait.js';

const script = fileURLToPath(new URL('../support/hold-database.mjs', import.meta.url));

/** A process that holds the database of a data folder, as a server or a command does. */
class Holder {
  private static readonly all: Holder[] = [];
  readonly logs: string[] = [];
  url: string | null = null;
  failure: string | null = null;
  private readonly ended: Promise<unknown>;

  private constructor(private readonly process: ChildProcess) {
    this.ended = once(process, 'exit').then(() => {
      if (this.url === null) this.failure ??= 'It ended without a word';
    });
    createInterface({ input: process.stdout! }).on('line', (line) => {
      const fact = JSON.parse(line) as { url?: string; log?: string; message?: string };
      if (fact.url !== undefined) this.url = fact.url;
      if (fact.message !== undefined) this.failure = fact.message;
      if (fact.log !== undefined) this.logs.push(fact.log);
    });
  }

  /** Not waited for. */
  static spawn(
    dataDir: string,
    options: { shared?: boolean; prefix?: string[]; env?: NodeJS.ProcessEnv } = {},
  ): Holder {
    const args = [script, runFact('CAUSEWAY_TEST_PRODUCT'), dataDir, ...(options.shared ? ['shared'] : [])];
    const [program, ...rest] = [...(options.prefix ?? []), process.execPath, ...args];
    const stdio = ['pipe', 'pipe', 'inherit'] as const;
    const holder = new Holder(spawn(program!, rest, { stdio: [...stdio], env: { ...process.env, ...options.env } }));
    Holder.all.push(holder);
    return holder;
  }

  static async open(dataDir: string, options?: Parameters<typeof Holder.spawn>[1]): Promise<Holder> {
    const holder = Holder.spawn(dataDir, options);
    await holder.settled();
    expect(holder.failure).toBeNull();
    return holder;
  }

  /** It is open, or has said why not. */
  async settled(): Promise<this> {
    await eventually(() => this.url !== null || this.failure !== null, { timeoutMs: 60_000, what: 'a database' });
    return this;
  }

  async query<T>(sql: string): Promise<T[]> {
    const client = new Client({ connectionString: this.url!, connectionTimeoutMillis: 5_000 });
    // The tests kill the server under it.
    client.on('error', () => {});
    await client.connect();
    try {
      return (await client.query(sql)).rows as T[];
    } finally {
      await client.end();
    }
  }

  async kill(): Promise<void> {
    this.process.kill('SIGKILL');
    await this.ended;
  }

  async close(): Promise<void> {
    this.process.kill('SIGTERM');
    await this.ended;
  }

  static async closeAll(): Promise<void> {
    await Promise.all(Holder.all.splice(0).map((holder) => holder.close()));
  }
}

let dataDir: string;

beforeEach(async () => {
  dataDir = await mkdtemp(join(runFact('CAUSEWAY_TEST_FOLDER'), 'data-'));
});

afterEach(async () => {
  await Holder.closeAll();
  const pid = await postmaster();
  if (pid !== null) {
    process.kill(pid, 'SIGQUIT');
    await eventually(async () => (await postmaster()) === null, { what: 'the end of PostgreSQL' });
  }
  await rm(dataDir, { recursive: true, force: true });
});

const inData = (...path: string[]) => join(dataDir, 'postgres', ...path);

async function modeOf(path: string): Promise<string> {
  return ((await stat(path)).mode & 0o777).toString(8);
}

/** Null unless it runs. */
async function postmaster(): Promise<number | null> {
  try {
    const pid = Number((await readFile(inData('data', 'postmaster.pid'), 'utf8')).split('\n')[0]);
    const state = /\) (\S)/.exec(await readFile(`/proc/${pid}/stat`, 'utf8'))?.[1];
    return state === 'Z' ? null : pid;
  } catch {
    return null;
  }
}

async function killPostmaster(signal: NodeJS.Signals): Promise<void> {
  const pid = await postmaster();
  expect(pid).not.toBeNull();
  process.kill(pid!, signal);
}

test('the first start makes a database that only its owner reaches, and the end leaves nothing running', async () => {
  const server = await Holder.open(dataDir);
  const settings = await server.query<{ name: string; setting: string }>(
    `SELECT name, setting FROM pg_settings WHERE name IN
     ('data_checksums', 'fsync', 'listen_addresses', 'TimeZone', 'server_encoding', 'password_encryption') ORDER BY name`,
  );
  expect(Object.fromEntries(settings.map(({ name, setting }) => [name, setting]))).toEqual({
    data_checksums: 'on',
    fsync: 'on',
    listen_addresses: '',
    password_encryption: 'scram-sha-256',
    server_encoding: 'UTF8',
    TimeZone: 'UTC',
  });
  expect(await server.query(`SELECT lower('ÄЖ') AS lower`)).toEqual([{ lower: 'äж' }]);
  expect(await modeOf(inData('data'))).toBe('700');
  expect(await modeOf(inData('connection.json'))).toBe('600');
  expect(await modeOf(inData('postgres.log'))).toBe('600');
  expect((await readdir(inData())).filter((name) => name.startsWith('.'))).toEqual([]);

  const wrong = new Client({ connectionString: server.url!.replace(/:[^:@]+@/, ':wrong@') });
  await expect(wrong.connect()).rejects.toThrow(/password authentication failed/);

  await server.close();
  expect(await postmaster()).toBeNull();
  expect(existsSync(inData('data', 'postmaster.pid'))).toBe(false);
});

test('PostgreSQL knows no secret of our environment and runs in a session of its own', async () => {
  await Holder.open(dataDir, { env: { SECRET_KEY: 'do-not-pass-on' } });
  const pid = await postmaster();
  expect(await readFile(`/proc/${pid}/environ`, 'utf8')).not.toContain('do-not-pass-on');
  expect((await readFile(`/proc/${pid}/stat`, 'utf8')).split(') ')[1]!.split(' ')[3]).toBe(String(pid));
});

test("a data folder that is root's alone is widened just enough to be walked through", async () => {
  await chmod(dataDir, 0o700);
  await Holder.open(dataDir);
  expect(await modeOf(dataDir)).toBe('711');
});

test('a narrow umask closes no folder to PostgreSQL', async () => {
  const server = await Holder.open(dataDir, { prefix: ['sh', '-c', 'umask 077; exec "$@"', 'sh'] });
  expect(await server.query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
});

test('a folder that was restored, with owners of another machine, is taken over', async () => {
  const first = await Holder.open(dataDir);
  await first.query('CREATE TABLE t AS SELECT 7 AS n');
  await first.close();
  // A user namespace knows no other user.
  if (process.env.CAUSEWAY_TEST_MODE !== 'userns') await mustRun(['chown', '-R', '54321:54321', dataDir]);
  await chmod(dataDir, 0o711);
  await chmod(inData(), 0o711);
  const server = await Holder.open(dataDir);
  expect(await server.query('SELECT n FROM t')).toEqual([{ n: 7 }]);
});

test('a parent folder that PostgreSQL cannot enter is named', async () => {
  const inner = join(dataDir, 'inner');
  await mkdir(inner);
  await chmod(dataDir, 0o700);
  const server = await Holder.spawn(inner).settled();
  // In a user namespace PostgreSQL runs as the owner of the folder in disguise.
  if (process.env.CAUSEWAY_TEST_MODE === 'userns') expect(server.failure).toBeNull();
  else expect(server.failure).toContain(`cannot enter ${dataDir}.`);
});

test('after kill -9 of the server PostgreSQL goes on, and the next start takes it over', async () => {
  const first = await Holder.open(dataDir);
  await first.query('CREATE TABLE t AS SELECT 7 AS n');
  const pid = await postmaster();
  await first.kill();
  expect(await postmaster()).toBe(pid);

  const next = await Holder.open(dataDir);
  expect(next.logs.join()).toContain('taken over');
  expect(await postmaster()).toBe(pid);
  expect(await next.query('SELECT n FROM t')).toEqual([{ n: 7 }]);
  await next.close();
  expect(await postmaster()).toBeNull();
});

test('after kill -9 of the server and of PostgreSQL the next start finds every committed row', async () => {
  const first = await Holder.open(dataDir);
  await first.query('CREATE TABLE t (n int)');
  for (let round = 1; round <= 3; round++) {
    const server = round === 1 ? first : await Holder.open(dataDir);
    await server.query(`INSERT INTO t VALUES (${round})`);
    await Promise.all([killPostmaster('SIGKILL'), server.kill()]);
  }
  const last = await Holder.open(dataDir);
  expect(await last.query('SELECT n FROM t ORDER BY n')).toEqual([{ n: 1 }, { n: 2 }, { n: 3 }]);
});

test('a first start that is cut off anywhere is done again by the next', async () => {
  const moments: ((holder: Holder) => boolean | Promise<boolean>)[] = [
    async () => (await readdir(inData())).some((name) => name.startsWith('.copy-')),
    () => existsSync(inData('connection.json')),
    async () => (await readdir(inData())).some((name) => name.startsWith('.password-')),
    () => existsSync(inData('data')),
    () => existsSync(inData('data', 'postmaster.pid')),
  ];
  for (const moment of moments) {
    const holder = Holder.spawn(dataDir);
    await eventually(() => holder.url !== null || Promise.resolve(moment(holder)).catch(() => false), {
      intervalMs: 1,
    });
    await holder.kill();
  }
  const server = await Holder.open(dataDir);
  expect(await server.query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
  expect((await readdir(inData())).filter((name) => name.startsWith('.'))).toEqual([]);
});

test("a stale pid file whose number is another process's now stops nobody", async () => {
  await (await Holder.open(dataDir)).close();
  await writeFile(inData('data', 'postmaster.pid'), `${process.pid}\n${inData('data')}\n1\n5432\n\n\n\nready\n`);
  await chmod(inData('data', 'postmaster.pid'), 0o600);
  const server = await Holder.open(dataDir);
  expect(await server.query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
});

test.each(['SIGKILL', 'SIGTERM'] as const)(
  'PostgreSQL that gets %s under a living server comes back',
  async (signal) => {
    const server = await Holder.open(dataDir);
    await server.query('CREATE TABLE t AS SELECT 7 AS n');
    const pid = await postmaster();
    await killPostmaster(signal);
    await eventually(async () => ((await postmaster()) ?? pid) !== pid, {
      what: 'a new PostgreSQL',
      timeoutMs: 30_000,
    });
    expect(await eventually(() => server.query('SELECT n FROM t'))).toEqual([{ n: 7 }]);
    await server.close();
    expect(await postmaster()).toBeNull();
  },
);

test('a statement that outlives the PostgreSQL it belongs to holds nobody up', async () => {
  const server = await Holder.open(dataDir);
  const pid = await postmaster();
  const endless = server.query('SELECT count(*) FROM generate_series(1, 1e12)').catch((error: Error) => error);
  const running = `SELECT 1 FROM pg_stat_activity WHERE query LIKE '%1e12%' AND pid <> pg_backend_pid()`;
  await eventually(async () => (await server.query(running)).length > 0, { what: 'the statement' });
  await killPostmaster('SIGKILL');
  await eventually(async () => ((await postmaster()) ?? pid) !== pid, { what: 'a new PostgreSQL', timeoutMs: 30_000 });
  await eventually(() => server.query('SELECT 1'));
  expect(await endless).toBeInstanceOf(Error);
});

test('a backend that is killed costs its session only', async () => {
  const server = await Holder.open(dataDir);
  const [row] = await server.query<{ pid: number }>(
    `SELECT pid FROM pg_stat_activity WHERE application_name = 'causeway keeper'`,
  );
  const pid = await postmaster();
  process.kill(row!.pid, 'SIGKILL');
  await eventually(() => server.logs.some((line) => line.includes('taken over')), { what: 'the connection' });
  expect(await postmaster()).toBe(pid);
  await eventually(() => server.query('SELECT 1'));
});

test('a second server on one data folder refuses, and the first does not notice', async () => {
  const first = await Holder.open(dataDir);
  const second = await Holder.spawn(dataDir).settled();
  expect(second.failure).toMatch(/^Another Causeway \(process \d+\) is running on /);
  expect(await first.query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
});

test('of servers that start at once on an empty folder, one gets it', async () => {
  const servers = await Promise.all([1, 2, 3].map(() => Holder.spawn(dataDir).settled()));
  expect(servers.filter(({ url }) => url !== null)).toHaveLength(1);
  expect(servers.filter(({ failure }) => failure?.startsWith('Another Causeway'))).toHaveLength(2);
});

test('commands use the running database and leave it running', async () => {
  const server = await Holder.open(dataDir);
  const pid = await postmaster();
  const command = await Holder.open(dataDir, { shared: true });
  expect(command.url).toBe(server.url);
  await command.close();
  expect(await postmaster()).toBe(pid);
});

test('commands on their own start it, and the last to leave stops it', async () => {
  const commands = await Promise.all([1, 2].map(() => Holder.open(dataDir, { shared: true })));
  expect(await commands[0]!.query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
  await commands[0]!.close();
  expect(await commands[1]!.query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
  await commands[1]!.close();
  expect(await postmaster()).toBeNull();
});

test('a server that ends while a command is at work leaves the database to the command', async () => {
  const server = await Holder.open(dataDir);
  const command = await Holder.open(dataDir, { shared: true });
  await server.close();
  expect(await command.query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
  await command.close();
  expect(await postmaster()).toBeNull();
});

test('a data folder whose path is too long for a socket works', async () => {
  const long = join(dataDir, 'x'.repeat(120));
  await chmod(dataDir, 0o711);
  const server = await Holder.open(long);
  const folder = decodeURIComponent(/host=([^&]+)/.exec(server.url!)![1]!);
  expect(folder.length).toBeLessThan(80);
  expect(await modeOf(folder)).toBe('700');
  expect(await server.query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
  await server.close();
  await rm(folder, { recursive: true });
});

test('the data of another major version is left alone, and the message says what to do', async () => {
  await (await Holder.open(dataDir)).close();
  await writeFile(inData('data', 'PG_VERSION'), '12\n');
  const server = await Holder.spawn(dataDir).settled();
  expect(server.failure).toMatch(/is of PostgreSQL 12, and there is no PostgreSQL 12 here\. .*restore the backup/);
});

test('a lost connection file is made again, and the data stays', async () => {
  const first = await Holder.open(dataDir);
  await first.query('CREATE TABLE t AS SELECT 7 AS n');
  await first.kill();
  await rm(inData('connection.json'));
  const server = await Holder.open(dataDir);
  expect(await server.query('SELECT n FROM t')).toEqual([{ n: 7 }]);
});

test('a full disk is called a full disk, and nothing half-made is left', async () => {
  await mustRun(['mount', '-t', 'tmpfs', '-o', 'size=70m', 'tmpfs', dataDir]);
  try {
    const server = await Holder.spawn(dataDir).settled();
    expect(server.failure).toMatch(/^The disk that holds .* is full/);
    expect((await readdir(inData())).filter((name) => name.startsWith('.'))).toEqual([]);
  } finally {
    await mustRun(['umount', dataDir]);
  }
});

test('a user id without a passwd entry is told so', async () => {
  await chmod(dataDir, 0o777);
  const prefix = ['unshare', '--user', '--map-user=54321', '--map-group=54321', '--'];
  const server = await Holder.spawn(dataDir, { prefix }).settled();
  expect(server.failure).toContain('The user id 54321 has no entry in /etc/passwd');
});

test('root that may not change users gets on in a user namespace', async () => {
  const server = await Holder.open(dataDir, { prefix: ['setpriv', '--bounding-set', '-setuid,-setgid,-chown', '--'] });
  expect(await server.query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
});
