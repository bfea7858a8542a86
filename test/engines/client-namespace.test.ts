import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connectClient, parseClientFile, setDeviceConfig, type WireguardClient } from '../support/client-namespace.js';
import { mustRun } from '../support/command.js';
import { type Server, startServer } from '../support/server.js';
import { eventually } from '../support/wait.js';

// The tests' own client against a tunnel made by hand: what it measures must be true before other tests trust it.
describe('a client in a namespace of its own', () => {
  let server: Server;
  let client: WireguardClient;
  let publicKey: string;
  const megabyte = 1024 * 1024;

  beforeAll(async () => {
    server = await startServer();
    const own = (await mustRun(['wg', 'genkey'])).trim();
    const peers = (await mustRun(['wg', 'genkey'])).trim();
    publicKey = (await mustRun(['wg', 'pubkey'], { input: peers })).trim();
    const space = server.space!;
    await space.must(['wireguard-go', 'byhand0'], { input: '' });
    const config = `[Interface]\nPrivateKey = ${own}\nListenPort = 40001\n[Peer]\nPublicKey = ${publicKey}\nAllowedIPs = 10.77.0.2/32, fd77::2/128\n`;
    await setDeviceConfig(space, 'byhand0', config);
    const setUp =
      'address add 10.77.0.1/24 dev byhand0\naddress add fd77::1/64 dev byhand0 nodad\nlink set byhand0 up\n';
    await space.must(['ip', '-batch', '-'], { input: setUp });
    await space.must(['sysctl', '-q', '-w', 'net.ipv4.ip_forward=1']);
    const nat =
      'table ip byhand { chain post { type nat hook postrouting priority srcnat; oifname "eth0" masquerade; }; }';
    await space.must(['nft', '-f', '-'], { input: nat });
    client = await connectClient(
      server,
      [
        '[Interface]',
        `PrivateKey = ${peers}`,
        'Address = 10.77.0.2/24, fd77::2/64',
        'DNS = 1.1.1.1',
        '',
        '[Peer]',
        `PublicKey = ${(await mustRun(['wg', 'pubkey'], { input: own })).trim()}`,
        `Endpoint = ${server.endpointHost}:40001`,
        'AllowedIPs = 0.0.0.0/0, ::/0',
        'PersistentKeepalive = 25',
      ].join('\n'),
    );
  });

  afterAll(async () => {
    await client?.close();
    await server?.cleanup();
  });

  it('reaches the server through the tunnel on both families', async () => {
    await eventually(() => client.ping('10.77.0.1'));
    await eventually(() => client.ping('fd77::1'));
    expect(await client.handshakeAge()).toBeLessThan(20);
  });

  it('moves bytes both ways, to the server and past it, and the device counts them', async () => {
    for (const to of ['10.77.0.1', 'outside']) {
      const down = await client.download(4 * megabyte, { to });
      expect(down).toMatchObject({ bytes: 4 * megabyte, complete: true });
      expect(await client.upload(4 * megabyte, { to })).toMatchObject({ bytes: 4 * megabyte, complete: true });
    }
    const [, received, sent] = (await server.exec(['wg', 'show', 'byhand0', 'transfer'])).stdout.trim().split('\t');
    expect(Number(received)).toBeGreaterThan(8 * megabyte);
    expect(Number(sent)).toBeGreaterThan(8 * megabyte);
  });

  it('sees nothing come through once the server has cut it off', async () => {
    await server.exec(['wg', 'set', 'byhand0', 'peer', publicKey, 'remove']);
    expect(await client.ping('10.77.0.1')).toBe(false);
    const cut = await client.download(megabyte, { timeoutMs: 1_000 });
    expect(cut).toMatchObject({ bytes: 0, complete: false });
  });

  it('leaves no process and no device behind', async () => {
    await client.close();
    expect((await server.exec(['ip', '-o', 'link'])).stdout).not.toMatch(/: c\d+@/);
  });

  it('refuses what is no client file', () => {
    expect(() => parseClientFile('PrivateKey = x')).toThrow('Not a client file');
  });
});
