import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connectClient, type WireguardClient } from '../support/client-namespace.js';
import { type CandyPanel, install } from '../support/installed.js';
import { addressLines, Namespace } from '../support/namespace.js';
import { type Server, startServer } from '../support/server.js';
import { eventually } from '../support/wait.js';

/** Beyond the server, as its uplink sees it. Nothing there knows a way back into tunnels. */
const internet = { address: '203.0.113.2', address6: '2001:db8:ffff::2' };
const uplink = { address: '203.0.113.1', address6: '2001:db8:ffff::1' };
const lan = { address: '192.168.177.2', address6: 'fd17:7::2' };

/** What ufw and Docker leave on a host, and a firewall of the new kind beside them. All of them drop what they can. */
const others = `
table ip filter {
  chain DOCKER-USER {
    counter return comment "theirs"
  }
  chain FORWARD {
    type filter hook forward priority filter; policy drop;
    jump DOCKER-USER
    ip saddr 172.17.0.0/16 accept
  }
  chain ufw-before-input {
    ip protocol icmp accept
  }
  chain INPUT {
    type filter hook input priority filter; policy drop;
    jump ufw-before-input
    tcp dport 8000 accept
    ct state established,related accept
  }
}
table ip nat {
  chain POSTROUTING {
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr 172.17.0.0/16 oifname != "docker0" masquerade
  }
}
table ip6 filter {
  chain FORWARD {
    type filter hook forward priority filter; policy drop;
  }
  chain INPUT {
    type filter hook input priority filter; policy drop;
    meta l4proto ipv6-icmp accept
    ct state established,related accept
  }
}
table inet site {
  set blocked {
    type ipv4_addr
    elements = { 198.51.100.66 }
  }
  chain incoming {
    type filter hook input priority filter + 10; policy drop;
    meta l4proto { icmp, ipv6-icmp } accept
    tcp dport 8000 accept
    ct state established,related accept
  }
  chain forward {
    type filter hook forward priority filter + 10; policy drop;
    ip saddr @blocked drop
  }
}
`;

const script = fileURLToPath(new URL('../support/traffic.mjs', import.meta.url));
const settingPaths = [
  'ipv4/ip_forward',
  'ipv6/conf/all/forwarding',
  'ipv6/conf/up0/forwarding',
  'ipv6/conf/up0/accept_ra',
  'ipv4/conf/all/rp_filter',
];

describe('a full tunnel', () => {
  let server: Server;
  let panel: CandyPanel;
  let beyond: Namespace;
  let one: WireguardClient;
  let two: WireguardClient;
  let before: Record<string, string>;
  const listeners: ChildProcess[] = [];

  /** All of the host that a firewall or router is made of. Counters move by themselves. */
  const hostState = async (): Promise<Record<string, string>> => {
    const must = (...argv: string[]) => server.space!.must(argv);
    const rules = (await must('nft', 'list', 'ruleset')).replace(/counter packets \d+ bytes \d+/g, 'counter');
    const settings = await Promise.all(
      settingPaths.map(async (path) => [path, (await must('cat', `/proc/sys/net/${path}`)).trim()] as const),
    );
    return {
      rules,
      links: (await must('ip', '-br', 'link')).replace(/<.*>/g, ''),
      routes: (await must('ip', 'route')) + (await must('ip', '-6', 'route')),
      policies: (await must('ip', 'rule')) + (await must('ip', '-6', 'rule')),
      ...Object.fromEntries(settings),
    };
  };

  /** A traffic server in another namespace; gives its port. */
  const serve = async (space: Namespace, address: string): Promise<number> => {
    const argv = ['setpriv', '--pdeathsig', 'KILL', ...space.enter([process.execPath, script, 'serve', address])];
    const child = spawn(argv[0]!, argv.slice(1), { stdio: ['ignore', 'pipe', 'inherit'] });
    listeners.push(child);
    const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
    return Number(line);
  };

  const fetch = async (client: WireguardClient, address: string, port: number, bytes: number, verb = 'download') => {
    const argv = [process.execPath, script, verb, address, String(port), String(bytes), '5000'];
    const { stdout } = await client.exec(argv, { timeoutMs: 20_000 });
    return JSON.parse(stdout) as { bytes: number; complete: boolean };
  };

  const connects = async (client: WireguardClient, address: string, port: number) =>
    (await client.exec(['timeout', '1', 'bash', '-c', 'exec 3<>"/dev/tcp/$0/$1"', address, String(port)])).code === 0;

  /** Bytes that the server has sent into tunnels. */
  const sent = async () => {
    const { stdout } = await server.exec(['wg', 'show', 'wg0', 'transfer']);
    return stdout.split('\n').reduce((sum, line) => sum + Number(line.split('\t')[2] ?? 0), 0);
  };

  const allow = async (what: 'peers' | 'host' | 'lan', value: '0' | '1') => {
    const answer = await panel.call('PUT', `/settings/allow_${what}`, { value });
    expect(answer.status, answer.text).toBe(200);
  };

  const setMtu = async (value: string) => {
    const answer = await panel.call('PUT', '/settings/mtu', { value });
    expect(answer.status, answer.text).toBe(200);
  };

  beforeAll(async () => {
    server = await startServer();
    beyond = await Namespace.create();
    const pair = ['ip', 'link', 'add', 'up0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', String(beyond.pid)];
    await server.space!.must(pair);
    await server.space!.must(['ip', '-batch', '-'], {
      input:
        addressLines('up0', uplink.address, uplink.address6) +
        'address add 192.168.177.1/24 dev up0\naddress add fd17:7::1/64 dev up0 nodad\n',
    });
    await beyond.must(['ip', '-batch', '-'], {
      input:
        addressLines('eth0', internet.address, internet.address6) +
        `address add ${lan.address}/24 dev eth0\naddress add ${lan.address6}/64 dev eth0 nodad\n`,
    });
    await server.space!.must(['nft', '-f', '-'], { input: others });
    // Docker turns it on when it starts.
    await server.space!.must(['sysctl', '-q', '-w', 'net.ipv4.ip_forward=1']);
    before = await hostState();
    panel = await install(server);
    one = await connectClient(server, await panel.create('one'));
    two = await connectClient(server, await panel.create('two'));
    await eventually(() => one.ping('10.0.0.1'));
    await eventually(() => two.ping('10.0.0.1'));
  });

  afterAll(async () => {
    for (const child of listeners) child.kill('SIGKILL');
    await one?.close();
    await two?.close();
    await server?.cleanup();
    await beyond?.close();
  });

  it('reaches the internet over IPv4 and IPv6 as the server, past firewalls that drop', async () => {
    for (const { address, family } of [
      { address: internet.address, family: 'ip' },
      { address: internet.address6, family: 'ip6' },
    ]) {
      const port = await serve(beyond, address);
      const source = family === 'ip' ? uplink.address : uplink.address6;
      // Whoever comes with another address than the server's is counted.
      const table = `table ${family} seen {
        counter strangers {
        }
        chain input {
          type filter hook input priority filter;
          tcp dport ${port} ${family} saddr != ${source} counter name strangers
        }
      }`;
      await beyond.must(['nft', '-f', '-'], { input: table });
      expect(await one.ping(address)).toBe(true);
      expect(await fetch(one, address, port, 3_000_000)).toMatchObject({ bytes: 3_000_000, complete: true });
      expect(await fetch(two, address, port, 3_000_000, 'upload')).toMatchObject({ complete: true });
      expect(await beyond.must(['nft', 'list', 'counter', family, 'seen', 'strangers'])).toContain('packets 0 bytes 0');
      await beyond.must(['nft', 'delete', 'table', family, 'seen']);
    }
  });

  it('leaves the rules of the other firewalls in place and in force', async () => {
    const { stdout } = await server.exec(['nft', 'list', 'ruleset']);
    for (const theirs of ['comment "theirs"', 'ip saddr @blocked drop', 'ip saddr 172.17.0.0/16 accept']) {
      expect(stdout).toContain(theirs);
    }
    // What is not ours is dropped as before: from beyond into the tests' own network.
    await beyond.must(['ip', 'route', 'add', 'default', 'via', uplink.address]);
    expect((await beyond.exec(['ping', '-n', '-q', '-c', '1', '-W', '1', server.outsideHost])).code).not.toBe(0);
    // And nobody beyond gets into a tunnel by himself.
    expect((await beyond.exec(['ping', '-n', '-q', '-c', '1', '-W', '1', one.addresses[0]!])).code).not.toBe(0);
    await beyond.must(['ip', 'route', 'del', 'default']);
  });

  it('has the MTU of the setting, on the device and in the file', async () => {
    const mtu = async () => /mtu (\d+)/.exec((await server.exec(['ip', 'link', 'show', 'wg0'])).stdout)?.[1];
    const fits = async (client: WireguardClient, size: number) =>
      (
        await client.exec([
          'ping',
          '-n',
          '-q',
          '-c',
          '1',
          '-W',
          '1',
          '-M',
          'do',
          '-s',
          String(size - 28),
          internet.address,
        ])
      ).code === 0;
    expect(await mtu()).toBe('1420');
    expect(await fits(one, 1420)).toBe(true);
    await setMtu('1380');
    expect(await mtu()).toBe('1380');
    const answer = await panel.call<{ data: { config: string } }>('GET', '/clients/one/config');
    expect(answer.body.data.config).toContain('MTU = 1380\n');
    await setMtu('1420');
    expect(await mtu()).toBe('1420');
  });

  it('tells both ends of a connection what fits, so that lost ICMP hurts nobody', async () => {
    await setMtu('1280');
    // The other end hears no "too big", as behind many a provider, and counts who would send what does not fit.
    const deaf = `table inet deaf {
      counter big4 { }
      counter big6 { }
      chain input {
        type filter hook input priority filter;
        icmp type destination-unreachable drop
        icmpv6 type packet-too-big drop
        meta nfproto ipv4 tcp flags & (syn | ack) == syn tcp option maxseg size > 1240 counter name big4
        meta nfproto ipv6 tcp flags & (syn | ack) == syn tcp option maxseg size > 1220 counter name big6
      }
    }`;
    await beyond.must(['nft', '-f', '-'], { input: deaf });
    try {
      for (const address of [internet.address, internet.address6]) {
        const port = await serve(beyond, address);
        expect(await fetch(one, address, port, 500_000)).toMatchObject({ bytes: 500_000, complete: true });
        expect(await fetch(one, address, port, 500_000, 'upload')).toMatchObject({ complete: true });
      }
      const counted = await beyond.must(['nft', 'list', 'counters', 'table', 'inet', 'deaf']);
      expect(counted.match(/packets 0 bytes 0/g)).toHaveLength(2);
    } finally {
      await beyond.must(['nft', 'delete', 'table', 'inet', 'deaf']);
      await setMtu('1420');
    }
  });

  it('reaches other clients, on its own interface and on others, unless the setting closes that', async () => {
    const made = await panel.call('POST', '/interfaces', { address_range: '10.0.1.1/24', port: 51_821 });
    expect(made.status, made.text).toBe(200);
    const config = await panel.call<{ data: { client_config: string } }>('POST', '/clients', {
      name: 'three',
      expires: '2099-01-01T00:00:00',
      traffic: '0',
      wg_id: 1,
    });
    const three = await connectClient(server, config.body.data.client_config);
    try {
      await eventually(() => three.ping('10.0.1.1'));
      const others4and6 = [...two.addresses, ...three.addresses];
      expect(others4and6).toHaveLength(4);
      const reached = () => Promise.all(others4and6.map((address) => one.ping(address)));
      expect(await reached()).toEqual([true, true, true, true]);
      await allow('peers', '0');
      expect(await reached()).toEqual([false, false, false, false]);
      expect(await three.ping(one.addresses[0]!)).toBe(false);
      expect(await one.ping(internet.address)).toBe(true);
      expect(await one.ping(internet.address6)).toBe(true);
      await allow('peers', '1');
      expect(await reached()).toEqual([true, true, true, true]);
    } finally {
      await three.close();
      expect((await panel.call('DELETE', '/interfaces/wg1?force=true')).status).toBe(200);
    }
  });

  it('reaches the networks behind the server, unless the setting closes that', async () => {
    const port = await serve(beyond, lan.address);
    const reached = async () => [await one.ping(lan.address), await one.ping(lan.address6)];
    expect(await reached()).toEqual([true, true]);
    // A connection that is open is cut as well.
    const endless = fetch(one, lan.address, port, 4_000_000_000);
    const began = await sent();
    await eventually(async () => (await sent()) > began + 1_000_000);
    await allow('lan', '0');
    const closed = await sent();
    expect(await reached()).toEqual([false, false]);
    expect((await sent()) - closed).toBeLessThan(200_000);
    expect(await connects(one, lan.address, port)).toBe(false);
    expect(await one.ping(internet.address)).toBe(true);
    expect(await one.ping(internet.address6)).toBe(true);
    expect(await one.ping(two.addresses[0]!)).toBe(true);
    await allow('lan', '1');
    expect(await reached()).toEqual([true, true]);
    expect((await endless).complete).toBe(false);
  });

  it('reaches the server itself on every address, unless the setting closes that', async () => {
    const addresses = ['10.0.0.1', uplink.address, '192.168.177.1'];
    const reached = () => Promise.all(addresses.map((address) => connects(one, address, 8000)));
    expect(await reached()).toEqual([true, true, true]);
    await allow('host', '0');
    expect(await reached()).toEqual([false, false, false]);
    expect(await one.ping('10.0.0.1')).toBe(true);
    expect(await one.ping(internet.address)).toBe(true);
    await allow('host', '1');
    expect(await reached()).toEqual([true, true, true]);
  });

  it('comes back whole when somebody flushes all rules', async () => {
    const rules = await server.space!.must(['nft', '-s', 'list', 'ruleset']);
    await server.space!.must(['nft', 'flush', 'ruleset']);
    await server.space!.must(['nft', '-f', '-'], { input: others });
    await panel.sync();
    expect((await server.space!.must(['nft', '-s', 'list', 'ruleset'])).split('\n').sort()).toEqual(
      rules.split('\n').sort(),
    );
    expect(await one.ping(internet.address)).toBe(true);
  });

  it('leaves the host as it was when its interface is switched off or deleted', async () => {
    await panel.call('PUT', '/interfaces/wg0', { status: false });
    expect(await hostState()).toEqual(withCables(before, await hostState()));
    await panel.call('PUT', '/interfaces/wg0', { status: true });
    // The old session is gone with the old device, which a client finds out by itself in a quarter of a minute.
    await one.down();
    await one.up();
    await eventually(() => one.ping(internet.address));
    expect((await panel.call('DELETE', '/interfaces/wg0?force=true')).status).toBe(200);
    expect(await hostState()).toEqual(withCables(before, await hostState()));
  });

  /** The clients' own cables are the test's: their links and routes came since, and nothing else may have. */
  function withCables(then: Record<string, string>, now: Record<string, string>): Record<string, string> {
    const cables = (text: string) => text.split('\n').filter((line) => /\bc\d+\b/.test(line));
    const plus = (key: string) =>
      now[key]!.split('\n')
        .filter((line) => then[key]!.split('\n').includes(line) || cables(now[key]!).includes(line))
        .join('\n');
    for (const key of ['links', 'routes']) {
      expect(then[key]!.split('\n').filter((line) => !now[key]!.split('\n').includes(line))).toEqual([]);
    }
    return { ...then, links: plus('links'), routes: plus('routes') };
  }
});
