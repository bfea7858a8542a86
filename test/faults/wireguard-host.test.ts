import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterEach, describe, expect, it } from 'vitest';
import { connectClient, type WireguardClient } from '../support/client-namespace.js';
import { install, logIn } from '../support/installed.js';
import { Server, type ServerOptions } from '../support/server.js';
import { eventually } from '../support/wait.js';

const gateway = '10.0.0.1';
const open: { server: Server[]; client: WireguardClient[] } = { server: [], client: [] };

afterEach(async () => {
  for (const client of open.client.splice(0)) await client.close();
  for (const server of open.server.splice(0)) await server.cleanup();
});

async function prepare(options: ServerOptions = {}): Promise<Server> {
  const server = await Server.prepare({ ...options, env: { SYNC_INTERVAL: '1', ...options.env } });
  open.server.push(server);
  return server;
}

async function start(options: ServerOptions = {}): Promise<Server> {
  const server = await prepare(options);
  await server.start();
  return server;
}

async function connect(server: Server, config: string): Promise<WireguardClient> {
  const client = await connectClient(server, config);
  open.client.push(client);
  return client;
}

const keyOf = async (server: Server) => (await server.exec(['wg', 'show', 'wg0', 'public-key'])).stdout.trim();

async function enginePid(server: Server): Promise<number> {
  const file = await server.exec(['cat', `${server.dataDir}/wireguard/wg0.json`]);
  return (JSON.parse(file.stdout) as { pid: number }).pid;
}

interface Readiness {
  parts: { name: string; state: string; message: string; hint: string | null }[];
}

/** What /readyz says of WireGuard. */
async function wireguardOf(panel: { call<T>(method: string, path: string): Promise<{ status: number; body: T }> }) {
  const { status, body } = await panel.call<Readiness>('GET', '/readyz');
  return { status, ...body.parts.find(({ name }) => name.includes('wireguard'))! };
}

/** Somebody else's WireGuard device in the server's namespace, with this port when it is given. */
async function makeForeign(server: Server, name: string, port?: number): Promise<ChildProcess> {
  const argv = server.space!.enter(['wireguard-go', '-f', name]);
  const engine = spawn(argv[0]!, argv.slice(1), { stdio: 'ignore', env: { ...process.env, LOG_LEVEL: 'silent' } });
  await eventually(async () => (await server.exec(['wg', 'show', name])).code === 0);
  await server.space!.must(['ip', 'link', 'set', name, 'up']);
  if (port === undefined) return engine;
  await eventually(async () => (await server.exec(['wg', 'set', name, 'listen-port', String(port)])).code === 0);
  return engine;
}

describe('a socket that an engine left behind', () => {
  it.each(['a socket without a process', 'a plain file'])('is no obstacle: %s', async (kind) => {
    const server = await start();
    if (kind === 'a plain file') {
      await server.space!.must(['sh', '-c', 'echo left > /var/run/wireguard/wg0.sock']);
    } else {
      (await makeForeign(server, 'wg0')).kill('SIGKILL');
      await eventually(async () => (await server.exec(['ip', 'link', 'show', 'wg0'])).code !== 0);
      await server.space!.must(['test', '-S', '/var/run/wireguard/wg0.sock']);
    }
    const panel = await install(server);
    const client = await connect(server, await panel.create('alice'));
    await eventually(() => client.ping(gateway));
  });
});

describe('a wg0 of somebody else', () => {
  it('that is there when the server starts is left alone and named, and ours returns when it is gone', async () => {
    const server = await start();
    const panel = await install(server);
    await panel.create('alice');
    const { public_key: alice } = await panel.client('alice');
    const ours = await keyOf(server);
    const engine = await enginePid(server);
    await server.stop();
    process.kill(engine, 'SIGKILL');
    await eventually(async () => (await server.exec(['ip', 'link', 'show', 'wg0'])).code !== 0);
    await makeForeign(server, 'wg0', 40_123);
    await server.space!.must(['ip', 'address', 'add', '192.168.77.1/24', 'dev', 'wg0']);
    const before = (await server.exec(['ip', '-json', 'address', 'show', 'wg0'])).stdout;

    await server.start();
    const hint = expect.stringContaining('ip link del wg0') as string;
    await eventually(async () => {
      expect(await wireguardOf(panel)).toMatchObject({ status: 503, state: 'down', hint });
      return true;
    });
    const refused = await panel.call('POST', '/clients', { name: 'bob', expires: '', traffic: '0' });
    expect(refused.status).toBe(503);
    expect((await panel.call('GET', '/clients/bob')).status).toBe(404);
    expect(await panel.call('PUT', '/interfaces/wg0', { port: 40_124 })).toMatchObject({
      status: 400,
      body: { detail: expect.stringContaining('wg0') as string },
    });
    expect((await server.exec(['ip', '-json', 'address', 'show', 'wg0'])).stdout).toBe(before);
    expect((await server.exec(['wg', 'show', 'wg0', 'listen-port'])).stdout.trim()).toBe('40123');

    await server.space!.must(['ip', 'link', 'del', 'wg0']);
    await eventually(async () => (await keyOf(server)) === ours);
    await eventually(async () => (await server.exec(['wg', 'show', 'wg0', 'peers'])).stdout.includes(alice));
    expect(await wireguardOf(panel)).toMatchObject({ status: 200, state: 'up' });
  });
});

describe('a port that somebody else has when the server starts', () => {
  it('is named, and the device comes up by itself when it is free', async () => {
    const server = await start();
    const panel = await install(server);
    await panel.create('alice');
    const { public_key: alice } = await panel.client('alice');
    const engine = await enginePid(server);
    await server.stop();
    process.kill(engine, 'SIGKILL');
    await makeForeign(server, 'other0', 51_820);

    await server.start();
    const message = expect.stringMatching(/wg0.*51820.*in use/) as string;
    await eventually(async () => {
      expect(await wireguardOf(panel)).toMatchObject({ status: 503, state: 'down', message });
      return true;
    });
    await server.space!.must(['ip', 'link', 'del', 'other0']);
    await eventually(async () => (await server.exec(['wg', 'show', 'wg0', 'peers'])).stdout.includes(alice));
    await eventually(async () => (await wireguardOf(panel)).status === 200);
    await panel.create('bob');
  });
});

describe('the wrong secret key', () => {
  it('stops the start with one line, and neither tunnels nor rows notice', async () => {
    const server = await start();
    const panel = await install(server);
    const client = await connect(server, await panel.create('alice'));
    await eventually(() => client.ping(gateway));
    const key = await keyOf(server);
    const good = server.env['SECRET_KEY']!;
    await server.stop();

    server.env['SECRET_KEY'] = Buffer.alloc(32, 7).toString('base64');
    const before = server.logs().length;
    await expect(server.start()).rejects.toThrow('exit code 1');
    expect(server.logs().slice(before)).toMatch(/SECRET_KEY/);
    expect(server.logs().slice(before)).not.toMatch(/^\s+at /m);
    expect(await client.ping(gateway)).toBe(true);
    expect(await keyOf(server)).toBe(key);

    server.env['SECRET_KEY'] = good;
    await server.start();
    const again = await logIn(server);
    await again.sync();
    expect(await client.ping(gateway)).toBe(true);
    expect((await again.client('alice')).status).toBe(true);
  });
});

describe('a second server on one DATA_DIR', () => {
  it('ends with one line that says so, and the first does not notice', async () => {
    const first = await start({ embedded: true });
    const panel = await install(first);
    const client = await connect(first, await panel.create('alice'));
    const engine = await enginePid(first);
    // In the same namespaces, as it would be on one host.
    const env = { ...first.env, PORT: '8001', PATH: process.env['PATH']! };
    const argv = first.space!.enter([process.execPath, `${process.env['CAUSEWAY_TEST_PRODUCT']}/dist/main.js`]);
    const second = spawn(argv[0]!, argv.slice(1), { cwd: '/', env, stdio: ['ignore', 'pipe', 'pipe'] });
    let said = '';
    for (const stream of [second.stdout, second.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => (said += text));
    const [code] = (await once(second, 'exit')) as [number];
    expect(code, said).toBe(1);
    expect(said).toContain(`Another Causeway (process ${first.pid}) is running on ${first.dataDir}`);
    expect(said).not.toMatch(/^\s+at /m);

    expect(await enginePid(first)).toBe(engine);
    expect(await client.ping(gateway)).toBe(true);
    await panel.create('bob');
    await panel.sync();
  });
});
