import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { connectClient, parseClientFile, type WireguardClient } from '../../support/client-namespace.js';
import { request } from '../../support/http.js';
import { Server } from '../../support/server.js';
import { eventually } from '../../support/wait.js';
import { Panel, setupToken } from './panel.js';

const ula = /^fd[0-9a-f]{2}(:[0-9a-f]{1,4}){2}:/;

describe('IPv6 in the tunnel', () => {
  let panel: Panel;
  const clients: WireguardClient[] = [];

  beforeAll(async () => {
    panel = await Panel.start();
  });

  afterAll(async () => {
    for (const client of clients) await client.close();
    await panel?.server.cleanup();
  });

  const config = async (name: string) => {
    const { body } = await panel.call<{ data: { config: string } }>('GET', `/clients/${name}/config`);
    return parseClientFile(body.data.config).addresses;
  };
  const deviceAddresses = async (device = 'wg0') => {
    const { stdout } = await panel.server.exec(['ip', '-j', 'addr', 'show', 'dev', device, 'scope', 'global']);
    const [link] = JSON.parse(stdout) as { addr_info: { local?: string; prefixlen: number }[] }[];
    return link!.addr_info.flatMap(({ local, prefixlen }) => (local === undefined ? [] : [`${local}/${prefixlen}`]));
  };
  const use = (value: '0' | '1') => panel.call('PUT', '/settings/ipv6', { value });

  it('is a private /64 of the interface, with the host numbers of IPv4', async () => {
    await panel.create('alice');
    const [ipv4, ipv6 = ''] = await config('alice');
    expect(ipv4).toBe('10.0.0.2/32');
    expect(ipv6).toMatch(ula);
    expect(ipv6).toMatch(/::2\/128$/);
    const alice = await panel.client('alice');
    expect(alice.address).toBe('10.0.0.2');
    expect((await panel.peers())!.get(alice.public_key)).toEqual([ipv4, ipv6]);
    expect(await deviceAddresses()).toEqual(['10.0.0.1/24', ipv6.replace('::2/128', '::1/64')]);

    const made = await request<{ address: string; configuration: string }>(
      panel.server,
      'POST',
      '/api/wireguard/client',
      { token: panel.token!, body: { name: 'easy' } },
    );
    expect(made.body.address).toBe('10.0.0.3');
    expect(parseClientFile(made.body.configuration).addresses).toEqual(['10.0.0.3/32', ipv6.replace('::2/', '::3/')]);
  });

  it('is another network for each interface, and reaches past 65,536 hosts', async () => {
    await panel.call('PUT', '/settings/ipv6', { value: '1' });
    const made = await panel.call('POST', '/interfaces', { address_range: '10.64.0.1/10', port: 51_821 });
    expect(made.status, made.text).toBe(200);
    const [, wg0 = ''] = await deviceAddresses('wg0');
    const [, wg1 = ''] = await deviceAddresses('wg1');
    expect(wg1).toMatch(ula);
    expect(wg1.split('::')[0]).not.toBe(wg0.split('::')[0]);

    expect((await panel.call('PUT', '/interfaces/wg1', { address: '10.65.0.1/10' })).status).toBe(200);
    expect(await deviceAddresses('wg1')).toEqual(['10.65.0.1/10', wg1.replace('::1/64', '::1:1/64')]);
    await panel.call('DELETE', '/interfaces/wg1');
  });

  it('carries packets to the server and between clients', async () => {
    const connect = async (name: string) => {
      const client = await connectClient(panel.server, await panel.create(name));
      clients.push(client);
      return client;
    };
    const [one, two] = [await connect('one'), await connect('two')];
    const [, server = ''] = await deviceAddresses();
    await eventually(() => one.ping(server.split('/')[0]!));
    await eventually(() => two.ping(server.split('/')[0]!));
    expect(await one.ping(two.addresses[1]!)).toBe(true);
  });

  it('is off and on with the setting, and the addresses stay who they are', async () => {
    const before = await config('alice');
    const { public_key: key } = await panel.client('alice');
    expect((await use('0')).status).toBe(200);
    expect(await deviceAddresses()).toEqual(['10.0.0.1/24']);
    expect(await config('alice')).toEqual(['10.0.0.2/32']);
    expect((await panel.peers())!.get(key)).toEqual(['10.0.0.2/32']);
    expect((await panel.server.exec(['nft', 'list', 'table', 'inet', 'causeway'])).stdout).not.toContain('ip6 saddr');

    expect((await use('1')).status).toBe(200);
    expect(await config('alice')).toEqual(before);
    expect((await panel.peers())!.get(key)).toEqual(before);
    expect(await deviceAddresses()).toHaveLength(2);
  });

  it('follows when the interface moves to a range that begins elsewhere', async () => {
    expect((await panel.call('PUT', '/interfaces/wg0', { address: '10.0.0.200/23' })).status).toBe(200);
    const [, device = ''] = await deviceAddresses();
    expect(device).toMatch(/::c8\/64$/);
    expect((await config('alice'))[1]).toMatch(/::2\/128$/);

    await panel.call('POST', '/interfaces', { address_range: '10.9.1.1/24', port: 51_822 });
    await panel.create('moved', { wg_id: 1 });
    expect((await config('moved'))[1]).toMatch(/::2\/128$/);
    expect((await panel.call('PUT', '/interfaces/wg1', { address: '10.9.0.1/23' })).status).toBe(200);
    const moved = await config('moved');
    expect(moved).toEqual(['10.9.1.2/32', expect.stringMatching(/::102\/128$/)]);
    const { public_key: key } = await panel.client('moved');
    expect((await panel.peers('wg1'))!.get(key)).toEqual(moved);
  });
});

describe('a host without IPv6', () => {
  let server: Server;

  afterEach(async () => {
    await server?.cleanup();
  });

  it('has tunnels as if there were no IPv6', async () => {
    server = await Server.prepare({ env: { SETUP_TOKEN: setupToken } });
    await server.space!.must(['sysctl', '-q', '-w', 'net.ipv6.conf.all.disable_ipv6=1']);
    await server.start();
    const panel = new Panel(server);
    expect((await panel.install()).status).toBe(200);
    await panel.login();
    const config = await panel.create('alice');
    expect(parseClientFile(config).addresses).toEqual(['10.0.0.2/32']);
    const { public_key: key } = await panel.client('alice');
    expect(await panel.peers()).toEqual(new Map([[key, ['10.0.0.2/32']]]));
    expect((await panel.call('GET', '/readyz')).status).toBe(200);
    // For the client's own cable.
    await server.space!.must(['sysctl', '-q', '-w', 'net.ipv6.conf.default.disable_ipv6=0']);
    const client = await connectClient(server, config);
    try {
      await eventually(() => client.ping('10.0.0.1'));
      expect((await client.download(100_000)).complete).toBe(true);
    } finally {
      await client.close();
    }
    expect(server.logs()).not.toMatch(/"level":"(warn|error)"[^\n]*IPv6/);
  });
});
