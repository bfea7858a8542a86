import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, chown, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect, createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { Client } from 'pg';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { postgresAccount } from '../../src/database/postgres-account.js';
import { verifyServer } from '../../src/database/server-check.js';
import { asOwner, createDatabase, type TestDatabase } from '../support/database.js';
import { runFact } from '../support/run.js';
import { eventually } from '../support/wait.js';

let database: TestDatabase;
let lines: string[];
const log = {
  info: (line: string) => void lines.push(line),
  warn: (line: string) => void lines.push(line),
  error: (line: string) => void lines.push(line),
};

beforeEach(async () => {
  lines = [];
  database = await createDatabase({ empty: true });
});

afterEach(async () => {
  await database.drop();
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** Runs `work` while a pgbouncer stands before the test's database. */
async function behindPooler(mode: string, size: number, work: (url: string) => Promise<void>): Promise<void> {
  const account = await postgresAccount(log);
  const folder = await mkdtemp(join(runFact('CAUSEWAY_TEST_FOLDER'), 'pooler-'));
  const port = await freePort();
  const config = join(folder, 'pgbouncer.ini');
  await chmod(folder, 0o755);
  await writeFile(
    config,
    `[databases]
${database.name} = host=${runFact('CAUSEWAY_TEST_POSTGRES')} dbname=${database.name} user=causeway
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = any
pool_mode = ${mode}
default_pool_size = ${size}
`,
  );
  if (account.owner !== null) await chown(folder, account.owner.uid, account.owner.gid);
  const [program, ...args] = [...account.prefix, 'pgbouncer', '-q', config];
  const pooler = spawn(program, args, { ...account.owner, stdio: 'ignore' });
  const ended = once(pooler, 'exit');
  try {
    await eventually(async () => {
      const socket = connect(port, '127.0.0.1');
      await once(socket, 'connect').finally(() => socket.destroy());
      return true;
    });
    await work(`postgresql://causeway@127.0.0.1:${port}/${database.name}`);
  } finally {
    pooler.kill('SIGKILL');
    await ended;
    await rm(folder, { recursive: true });
  }
}

test('a database that holds sessions is accepted without a word', async () => {
  await verifyServer(database.url, log);
  expect(lines).toEqual([]);
});

test.each([
  ['transaction', 1],
  ['transaction', 10],
  ['statement', 10],
])('a pooler in %s mode with %i connections is refused', async (mode, size) => {
  await behindPooler(mode, size, async (url) => {
    await expect(verifyServer(url, log)).rejects.toThrow('behind a pooler that does not hold sessions');
  });
});

test('a pooler in transaction mode is refused while others use it too', async () => {
  await behindPooler('transaction', 10, async (url) => {
    const stopped = new AbortController();
    const others = await Promise.all(
      [1, 2, 3, 4].map(async () => {
        const client = new Client({ connectionString: url });
        await client.connect();
        return client;
      }),
    );
    const busy = others.map(async (client) => {
      while (!stopped.signal.aborted) await client.query('SELECT pg_sleep(random() * 0.002)');
      await client.end();
    });
    try {
      await expect(verifyServer(url, log)).rejects.toThrow('behind a pooler that does not hold sessions');
    } finally {
      stopped.abort();
      await Promise.all(busy);
    }
  });
});

test('a pooler in session mode is accepted', async () => {
  await behindPooler('session', 10, async (url) => {
    await expect(verifyServer(url, log)).resolves.toBeUndefined();
  });
});

test('a server that is just coming up is waited for, and one line says so', async () => {
  const port = await freePort();
  const url = `postgresql://causeway@127.0.0.1:${port}/${database.name}`;
  const verified = verifyServer(url, log);
  await eventually(() => lines.length > 0, { what: 'a line about the wait' });
  expect(lines).toEqual([expect.stringMatching(/^Waiting up to 30 s for the database at 127\.0\.0\.1:\d+/)]);
  const bridge = createServer((socket) => {
    const server = connect(join(runFact('CAUSEWAY_TEST_POSTGRES'), '.s.PGSQL.5432'));
    socket.pipe(server).pipe(socket);
    socket.on('error', () => server.destroy());
    server.on('error', () => socket.destroy());
  }).listen(port, '127.0.0.1');
  try {
    await verified;
    expect(lines).toHaveLength(1);
  } finally {
    bridge.close();
  }
});

test('what cannot be used is refused at once, and the password stands in no message', async () => {
  const withPassword = database.url.replace('causeway@', 'causeway:hunter2hunter2@');
  await asOwner(database.name, (client) =>
    client.query(`ALTER DATABASE ${database.name} SET default_transaction_read_only = on`),
  );
  await expect(verifyServer(withPassword, log)).rejects.toThrow(/is read-only/);

  const missing = withPassword.replace(database.name, 'no_such_database');
  const refusal = await verifyServer(missing, log).catch((error: Error) => error);
  expect(refusal).toMatchObject({ message: expect.stringContaining('"no_such_database" does not exist') });
  expect(JSON.stringify(refusal) + String(refusal)).not.toContain('hunter2');
  await expect(verifyServer('not a url', log)).rejects.toThrow(/^DATABASE_URL is not a URL/);
  expect(lines).toEqual([]);
});

test('a user that may not make schemas, and a database that is not UTF-8, are told what to run', async () => {
  const role = `${database.name}_weak`;
  const latin = `${database.name}_latin`;
  await asOwner('postgres', async (client) => {
    await client.query(`CREATE ROLE ${role} LOGIN`);
    await client.query(`CREATE DATABASE ${latin} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0`);
  });
  try {
    const asWeak = database.url.replace('causeway@', `${role}@`);
    await expect(verifyServer(asWeak, log)).rejects.toThrow(`GRANT CREATE ON DATABASE "${database.name}"`);
    await expect(verifyServer(database.url.replace(database.name, latin), log)).rejects.toThrow(
      "has the encoding LATIN1. Make one with: CREATE DATABASE ... ENCODING 'UTF8'",
    );
  } finally {
    await asOwner('postgres', async (client) => {
      await client.query(`DROP DATABASE IF EXISTS ${latin}`);
      await client.query(`DROP ROLE ${role}`);
    });
  }
});
