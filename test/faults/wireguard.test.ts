import { afterEach, describe, expect, it } from 'vitest';
import { connectClient, type WireguardClient } from '../support/client-namespace.js';
import { type CandyPanel, install, logIn } from '../support/installed.js';
import { type Server, type ServerOptions, startServer } from '../support/server.js';
import { eventually } from '../support/wait.js';

const gateway = '10.0.0.1';
const open: { server: Server[]; client: WireguardClient[] } = { server: [], client: [] };

afterEach(async () => {
  for (const client of open.client.splice(0)) await client.close();
  for (const server of open.server.splice(0)) await server.cleanup();
});

async function start(options: ServerOptions = {}): Promise<Server> {
  const server = await startServer({ ...options, env: { SYNC_INTERVAL: '1', ...options.env } });
  open.server.push(server);
  return server;
}

async function connect(server: Server, config: string): Promise<WireguardClient> {
  const client = await connectClient(server, config);
  open.client.push(client);
  return client;
}

async function enginePid(server: Server): Promise<number> {
  const { stdout } = await server.exec(['cat', '/proc/net/dev']);
  expect(stdout).toContain('wg0');
  const file = await server.exec(['cat', `${server.dataDir}/wireguard/wg0.json`]);
  return (JSON.parse(file.stdout) as { pid: number }).pid;
}

const down = (panel: CandyPanel, name: string) => panel.client(name).then((client) => client.used_trafic.download);

describe('kill -9 of the server', () => {
  it('cuts nobody off, and no byte is lost or counted twice', async () => {
    const server = await start();
    const panel = await install(server);
    const client = await connect(server, await panel.create('alice'));
    await client.download(2_000_000);
    await panel.sync();
    const before = await down(panel, 'alice');
    expect(before).toBeGreaterThan(2_000_000);
    const engine = await enginePid(server);

    await server.kill9();
    expect(await client.ping(gateway)).toBe(true);
    await client.download(1_000_000);
    await server.start();

    const again = await logIn(server);
    expect(await enginePid(server)).toBe(engine);
    await again.sync();
    const after = await down(again, 'alice');
    expect(after - before).toBeGreaterThan(1_000_000);
    expect(after - before).toBeLessThan(1_600_000);
  });
});

describe('wireguard-go', () => {
  it('that was killed is made again with all its peers, and totals go on from where they were', async () => {
    const server = await start();
    const panel = await install(server);
    const client = await connect(server, await panel.create('alice'));
    await client.download(1_000_000);
    await panel.sync();
    const before = await down(panel, 'alice');

    process.kill(await enginePid(server), 'SIGKILL');
    const { public_key: key } = await panel.client('alice');
    await eventually(async () => (await server.exec(['wg', 'show', 'wg0', 'peers'])).stdout.includes(key));
    await client.down();
    await client.up();
    await eventually(() => client.ping(gateway));
    await client.download(1_000_000);
    await panel.sync();
    const gained = (await down(panel, 'alice')) - before;
    expect(gained).toBeGreaterThan(1_000_000);
    expect(gained).toBeLessThan(1_600_000);
  });

  it('that hangs makes a creation fail in time, leaves no such client, and is replaced', async () => {
    const server = await start();
    const panel = await install(server);
    await panel.create('before');
    const engine = await enginePid(server);
    process.kill(engine, 'SIGSTOP');

    const began = Date.now();
    const answer = await panel.call('POST', '/clients', {
      name: 'during',
      expires: '2099-01-01T00:00:00',
      traffic: '0',
      wg_id: 0,
    });
    expect(answer.status).toBe(503);
    expect(answer.body).toEqual({ detail: expect.any(String) as string });
    expect(Date.now() - began).toBeLessThan(9_000);
    expect((await panel.call('GET', '/clients/during')).status).toBe(404);

    await eventually(async () => (await panel.call('GET', '/readyz')).status === 503);
    await eventually(async () => (await panel.call('GET', '/readyz')).status === 200, { timeoutMs: 40_000 });
    expect(await enginePid(server)).not.toBe(engine);
    await panel.create('during');
    await eventually(async () => {
      const { stdout } = await server.exec(['wg', 'show', 'wg0', 'allowed-ips']);
      for (const name of ['before', 'during']) expect(stdout).toContain((await panel.client(name)).public_key);
      expect(stdout.trim().split('\n')).toHaveLength(2);
      return true;
    });
  });
});

describe('a device that somebody else changed', () => {
  it('is mended by a sync: lost peers come back, strangers go, moved addresses return', async () => {
    const server = await start({ env: { SYNC_INTERVAL: '3600' } });
    const panel = await install(server);
    await panel.create('lost');
    await panel.create('robbed');
    const lost = await panel.client('lost');
    const robbed = await panel.client('robbed');
    const stranger = 'xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=';
    await server.exec(['wg', 'set', 'wg0', 'peer', lost.public_key, 'remove']);
    await server.exec(['wg', 'set', 'wg0', 'peer', stranger, 'allowed-ips', `${robbed.address}/32`]);
    await panel.sync();
    const { stdout } = await server.exec(['wg', 'show', 'wg0', 'allowed-ips']);
    expect(stdout).not.toContain(stranger);
    for (const client of [lost, robbed]) expect(stdout).toContain(`${client.public_key}\t${client.address}/32`);
  });
});

describe('a host that somebody else changed', () => {
  it('gets packet rules, MTU and link back with a sync', async () => {
    const server = await start({ env: { SYNC_INTERVAL: '3600' } });
    const panel = await install(server);
    const client = await connect(server, await panel.create('alice'));
    await server.exec(['nft', 'flush', 'ruleset']);
    await server.exec(['ip', 'link', 'set', 'wg0', 'mtu', '1300', 'down']);
    await panel.sync();
    expect((await server.exec(['nft', 'list', 'tables'])).stdout).toContain('causeway');
    expect((await server.exec(['ip', '-o', 'link', 'show', 'wg0'])).stdout).toMatch(/UP.* mtu 1420 /);
    await eventually(() => client.ping(gateway));
  });

  it('lets a device whose port is taken be moved to another one', async () => {
    const server = await start();
    const panel = await install(server);
    const engine = await enginePid(server);
    await server.stop();
    process.kill(engine, 'SIGKILL');
    await server.space!.must(['wireguard-go', 'other0']);
    await server.space!.must(['ip', 'link', 'set', 'other0', 'up']);
    await eventually(async () => (await server.exec(['wg', 'set', 'other0', 'listen-port', '51820'])).code === 0);
    await server.start();
    await eventually(async () => (await panel.call('GET', '/readyz')).status === 503);
    const moved = await panel.call('PUT', '/interfaces/wg0', { port: 51_830 });
    expect(moved.status, moved.text).toBe(200);
    expect((await server.exec(['wg', 'show', 'wg0', 'listen-port'])).stdout.trim()).toBe('51830');
    expect((await panel.call('GET', '/readyz')).status).toBe(200);
  });
});

describe('the embedded PostgreSQL', () => {
  it('that was killed comes back by itself, with every client that was acknowledged', async () => {
    const server = await start({ embedded: true });
    const panel = await install(server);
    for (const name of ['a', 'b', 'c']) await panel.create(name);
    const { stdout } = await server.exec(['cat', `${server.dataDir}/postgres/data/postmaster.pid`]);
    process.kill(Number(stdout.split('\n')[0]), 'SIGKILL');
    await eventually(
      async () => {
        const answer = await panel.call<{ name: string }[]>('GET', '/clients');
        return answer.status === 200 && answer.body.length === 3;
      },
      { timeoutMs: 30_000 },
    );
    await eventually(async () => (await panel.call('POST', '/sync')).status === 200, { timeoutMs: 30_000 });
    await panel.create('d');
  });
});

describe('several processes on one database', () => {
  it('have one owner of the engine; the others ask it, and another takes over when it dies', async () => {
    const owner = await start();
    const panel = await install(owner);
    const database = owner.database!;
    const shared = { database, env: { SECRET_KEY: owner.env['SECRET_KEY']! } };
    const replica = await start({ ...shared, env: { ...shared.env, ROLE: 'api' } });
    const remote = panel.at(replica);

    await remote.create('by-replica');
    const { public_key: key } = await panel.client('by-replica');
    expect((await owner.exec(['wg', 'show', 'wg0', 'peers'])).stdout).toContain(key);
    expect((await replica.exec(['wg', 'show', 'interfaces'])).stdout.trim()).toBe('');
    await remote.sync();

    const second = await start(shared);
    expect((await second.exec(['wg', 'show', 'interfaces'])).stdout.trim()).toBe('');
    await owner.kill9();
    await eventually(async () => (await second.exec(['wg', 'show', 'wg0', 'peers'])).stdout.includes(key));
    await eventually(async () => {
      const answer = await remote.call('POST', '/sync');
      return answer.status === 200;
    });
    await remote.create('after-takeover');
    const { public_key: later } = await remote.client('after-takeover');
    expect((await second.exec(['wg', 'show', 'wg0', 'peers'])).stdout).toContain(later);
  });

  it('answer 503 in time and keep nothing when nobody drives the engine', async () => {
    const owner = await start();
    const panel = await install(owner);
    const env = { SECRET_KEY: owner.env['SECRET_KEY']!, ROLE: 'api' };
    const replica = await start({ database: owner.database!, env });
    const remote = panel.at(replica);
    await owner.kill9();
    const answer = await remote.call('POST', '/clients', {
      name: 'nobody',
      expires: '2099-01-01T00:00:00',
      traffic: '0',
      wg_id: 0,
    });
    expect(answer.status).toBe(503);
    expect((await remote.call('GET', '/clients/nobody')).status).toBe(404);
  });
});
