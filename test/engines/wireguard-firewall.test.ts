import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Logger } from '@nestjs/common';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { FirewallSpec, PeerReading, PeerSpec } from '../../src/domain/tunnels/tunnel.port.js';
import { WireguardDriver } from '../../src/drivers/wireguard/wireguard.driver.js';
import type { Config } from '../../src/platform/config/config.js';
import { generateKeyPair, generatePresharedKey } from '../../src/platform/crypto/x25519.js';
import { setDeviceConfig } from '../support/client-namespace.js';
import { mustRun } from '../support/command.js';
import { joinToTests, Namespace, type Subnet } from '../support/namespace.js';
import { eventually } from '../support/wait.js';

const device = 'cwfire0';
const port = 45_101;
const server = generateKeyPair();
const lanHost = '192.168.177.1';
const metadata = '169.254.169.254';

/** A host with a tunnel to the driver's device, and a cable to the tests' own namespace. */
class Client {
  private constructor(
    readonly space: Namespace,
    readonly spec: PeerSpec,
    readonly address: string,
    readonly address6: string,
  ) {}

  static async create(index: number): Promise<Client> {
    const keys = generateKeyPair();
    const address = `10.93.0.${index}`;
    const address6 = `fd93::${index}`;
    const spec: PeerSpec = {
      publicKey: keys.publicKey,
      presharedKey: generatePresharedKey(),
      allowedIps: [`${address}/32`, `${address6}/128`],
    };
    const space = await Namespace.create();
    const cable = await joinToTests(space);
    await space.must(['wireguard-go', 'wg0']);
    await setDeviceConfig(
      space,
      'wg0',
      `[Interface]\nPrivateKey = ${keys.privateKey}\n[Peer]\nPublicKey = ${server.publicKey}\n` +
        `PresharedKey = ${spec.presharedKey}\nEndpoint = ${cable.near}:${port}\nAllowedIPs = 0.0.0.0/0, ::/0\n`,
    );
    const lines = [
      `address add ${address}/32 dev wg0`,
      `address add ${address6}/128 dev wg0 nodad`,
      'link set mtu 1400 up dev wg0',
      `route add ${cable.near}/32 dev eth0`,
      'route replace 0.0.0.0/0 dev wg0',
      'route replace ::/0 dev wg0',
    ];
    await space.must(['ip', '-batch', '-'], { input: `${lines.join('\n')}\n` });
    return new Client(space, spec, address, address6);
  }

  async pings(address: string, count = 1, size = 56): Promise<boolean> {
    const argv = ['ping', '-n', '-q', '-i', '0.01', '-c', String(count), '-s', String(size), '-W', '1', address];
    return (await this.space.exec(argv)).code === 0;
  }

  async connects(address: string, tcpPort: number): Promise<boolean> {
    const script = 'exec 3<>"/dev/tcp/$0/$1"';
    return (await this.space.exec(['timeout', '1', 'bash', '-c', script, address, String(tcpPort)])).code === 0;
  }
}

const setting = (path: string): string => readFileSync(`/proc/sys/net/${path}`, 'utf8').trim();
const ruleset = (): Promise<string> => mustRun(['nft', 'list', 'ruleset']);

describe('packets of clients', () => {
  let dataDir: string;
  let driver: WireguardDriver;
  let outside: Namespace;
  let cable: Subnet;
  let one: Client;
  let two: Client;
  let rulesBefore: string;

  const newDriver = (wireguardNat = true): WireguardDriver =>
    new WireguardDriver({ dataDir, wireguard: 'wireguard-go', wireguardNat } as Config);

  const rules = (change: Partial<FirewallSpec> = {}): FirewallSpec[] => [
    {
      device,
      ranges: ['10.93.0.0/24', 'fd93::/64'],
      listenPort: port,
      allowPeers: true,
      allowHost: true,
      allowLan: true,
      ...change,
    },
  ];

  const reading = async (client: Client): Promise<PeerReading> => {
    const found = (await driver.readDevice(device))?.peers.find((peer) => peer.publicKey === client.spec.publicKey);
    if (found === undefined) throw new Error('No such peer');
    return found;
  };

  beforeAll(async () => {
    Logger.overrideLogger(false);
    dataDir = mkdtempSync(join(tmpdir(), 'causeway-firewall-'));
    driver = newDriver();
    outside = await Namespace.create();
    cable = await joinToTests(outside);
    // Only what leaves with the server's own address gets an answer from here.
    await outside.must(['ip', 'route', 'del', 'default']);
    await outside.must(['ip', '-6', 'route', 'del', 'default']);
    await outside.must(['ip', 'addr', 'add', `${lanHost}/24`, 'dev', 'eth0']);
    await outside.must(['ip', 'addr', 'add', `${metadata}/32`, 'dev', 'eth0']);
    const near = `t${cable.index}`;
    await mustRun(['ip', 'addr', 'add', '192.168.177.2/24', 'dev', near]);
    await mustRun(['ip', 'route', 'add', `${metadata}/32`, 'dev', near, 'src', cable.near]);
    rulesBefore = await ruleset();
    await driver.ensureDevice({
      name: device,
      privateKey: server.privateKey,
      listenPort: port,
      addresses: ['10.93.0.1/24', 'fd93::1/64'],
      mtu: 1400,
    });
    one = await Client.create(2);
    two = await Client.create(3);
    await driver.changePeers(
      device,
      [one, two].map(({ spec }) => ({ action: 'set', peer: spec })),
    );
    await eventually(() => one.pings('10.93.0.1'));
    await eventually(() => two.pings('10.93.0.1'));
  });

  afterEach(async () => {
    await driver.ensureFirewall([]);
  });

  afterAll(async () => {
    await driver?.removeDevice(device, server.publicKey);
    for (const space of [one?.space, two?.space, outside]) await space?.close();
    rmSync(dataDir, { recursive: true, force: true });
  });

  it('are counted, stop at once when their peer is blocked, and flow again when it is set', async () => {
    const before = await reading(one);
    expect(await one.pings('10.93.0.1', 20, 1000)).toBe(true);
    const after = await reading(one);
    expect(after.rxBytes - before.rxBytes).toBeGreaterThan(20_000);
    expect(after.txBytes - before.txBytes).toBeGreaterThan(20_000);
    expect(Math.abs(after.latestHandshake - Date.now() / 1000)).toBeLessThan(60);

    await driver.changePeers(device, [{ action: 'block', publicKey: one.spec.publicKey }]);
    expect(await one.pings('10.93.0.1')).toBe(false);
    const blocked = await reading(one);
    expect(blocked.allowedIps).toEqual([]);
    expect(blocked.rxBytes).toBeGreaterThanOrEqual(after.rxBytes);
    expect(blocked.txBytes).toBe(after.txBytes);
    expect(await two.pings('10.93.0.1')).toBe(true);

    await driver.changePeers(device, [{ action: 'set', peer: one.spec }]);
    expect(await one.pings('10.93.0.1')).toBe(true);
    expect((await reading(one)).txBytes).toBeGreaterThan(after.txBytes);
  });

  it('go on while the device is adopted by another server process', async () => {
    const pinging = one.pings('10.93.0.1', 60);
    driver = newDriver();
    await driver.ensureDevice({
      name: device,
      privateKey: server.privateKey,
      listenPort: port,
      addresses: ['10.93.0.1/24', 'fd93::1/64'],
      mtu: 1400,
    });
    expect(await pinging).toBe(true);
  });

  it('reach the outside on both families by NAT, and the host is afterwards as it was', async () => {
    const settings = ['ipv4/ip_forward', 'ipv6/conf/all/forwarding', `ipv6/conf/t${cable.index}/accept_ra`];
    const before = settings.map(setting);
    expect(before).toEqual(['0', '0', '1']);
    expect(await one.pings(cable.far)).toBe(false);
    await driver.ensureFirewall(rules());
    expect(settings.map(setting)).toEqual(['1', '1', '2']);
    expect(await one.pings(cable.far)).toBe(true);
    expect(await one.pings(cable.far6)).toBe(true);
    expect(await one.pings(two.address)).toBe(true);
    expect(await one.pings(two.address6)).toBe(true);
    expect(await one.pings(lanHost)).toBe(true);
    const first = await ruleset();
    await newDriver().ensureFirewall(rules());
    expect(await ruleset()).toBe(first);

    // A server process that knows nothing of the one before takes it all away.
    await newDriver().ensureFirewall([]);
    expect(settings.map(setting)).toEqual(before);
    expect(await ruleset()).toBe(rulesBefore);
  });

  it('never reach the metadata of a cloud', async () => {
    await mustRun(['ping', '-n', '-q', '-c', '1', '-W', '1', metadata]);
    await driver.ensureFirewall(rules());
    expect(await one.pings(metadata)).toBe(false);
  });

  it('reach no other client when peers are closed', async () => {
    await driver.ensureFirewall(rules({ allowPeers: false }));
    expect(await one.pings(two.address)).toBe(false);
    expect(await one.pings(two.address6)).toBe(false);
    expect(await one.pings(cable.far)).toBe(true);
  });

  it('reach no private network when the LAN is closed, and one another still', async () => {
    await driver.ensureFirewall(rules({ allowLan: false }));
    expect(await one.pings(lanHost)).toBe(false);
    expect(await one.pings(two.address)).toBe(true);
    expect(await one.pings(two.address6)).toBe(true);
    expect(await one.pings(cable.far)).toBe(true);
  });

  it('reach no service of the host when the host is closed, which reaches them still', async () => {
    const service = createServer((socket) => socket.on('error', () => {}).end()).listen(0, '10.93.0.1');
    await once(service, 'listening');
    const { port: tcpPort } = service.address() as { port: number };
    try {
      await driver.ensureFirewall(rules());
      expect(await one.connects('10.93.0.1', tcpPort)).toBe(true);
      await driver.ensureFirewall(rules({ allowHost: false }));
      expect(await one.connects('10.93.0.1', tcpPort)).toBe(false);
      expect(await one.pings('10.93.0.1')).toBe(true);
      expect(await one.pings(cable.far)).toBe(true);
      await mustRun(['ping', '-n', '-q', '-c', '1', '-W', '1', one.address]);
    } finally {
      service.close();
    }
  });

  it('pass the chains of Docker and ufw that drop, whose own rules stay', async () => {
    const foreign = `
table ip filter {
  chain DOCKER-USER {
    counter return comment "theirs"
  }
  chain FORWARD {
    type filter hook forward priority filter; policy drop;
    jump DOCKER-USER
  }
  chain INPUT {
    type filter hook input priority filter; policy drop;
    ip protocol icmp accept
  }
}
table ip6 filter {
  chain FORWARD {
    type filter hook forward priority filter; policy drop;
  }
}
`;
    const shapes = (text: string): string => text.replace(/counter packets \d+ bytes \d+/g, 'counter');
    await mustRun(['nft', '-f', '-'], { input: foreign });
    try {
      const before = shapes(await ruleset());
      await driver.ensureFirewall(rules());
      await driver.ensureFirewall(rules());
      expect((await ruleset()).match(/comment "causeway"/g)).toHaveLength(5);
      expect(await one.pings(cable.far)).toBe(true);
      expect(await one.pings(cable.far6)).toBe(true);
      await driver.ensureFirewall([]);
      expect(shapes(await ruleset())).toBe(before);
      // Docker relies on the forwarding that was on when it came.
      expect(setting('ipv4/ip_forward')).toBe('1');
    } finally {
      await mustRun(['nft', 'delete', 'table', 'ip', 'filter']);
      await mustRun(['nft', 'delete', 'table', 'ip6', 'filter']);
      await mustRun(['sysctl', '-q', '-w', 'net.ipv4.ip_forward=0']);
    }
  });

  it('are left alone when NAT is switched off', async () => {
    await driver.ensureFirewall(rules());
    await newDriver(false).ensureFirewall(rules({ allowPeers: false }));
    expect(await ruleset()).toBe(rulesBefore);
    expect(setting('ipv4/ip_forward')).toBe('0');
  });
});
