import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createSocket } from 'node:dgram';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Logger } from '@nestjs/common';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  type DeviceSpec,
  ForeignDeviceError,
  type PeerReading,
  type PeerSpec,
  TunnelRefusedError,
  TunnelUnavailableError,
} from '../../src/domain/tunnels/tunnel.port.js';
import { DeviceRecords } from '../../src/drivers/wireguard/device.state.js';
import { KernelTransport } from '../../src/drivers/wireguard/kernel.transport.js';
import { WireguardDriver } from '../../src/drivers/wireguard/wireguard.driver.js';
import type { Config } from '../../src/platform/config/config.js';
import { generateKeyPair, generatePresharedKey, publicKeyOf } from '../../src/platform/crypto/x25519.js';
import { mustRun, runCommand } from '../support/command.js';
import { eventually } from '../support/wait.js';

const name = 'cwtest0';
const socket = `/var/run/wireguard/${name}.sock`;
const server = generateKeyPair();

let dataDir: string;
let driver: WireguardDriver;
let strangers: ChildProcess[];

const newDriver = (): WireguardDriver =>
  new WireguardDriver({ dataDir, wireguard: 'wireguard-go', wireguardNat: true } as Config);

function device(change: Partial<DeviceSpec> = {}): DeviceSpec {
  return {
    name,
    privateKey: server.privateKey,
    listenPort: 45_001,
    addresses: ['10.91.0.1/24', 'fd91::1/64'],
    mtu: 1400,
    ...change,
  };
}

function peer(index: number, change: Partial<PeerSpec> = {}): PeerSpec {
  return {
    publicKey: generateKeyPair().publicKey,
    presharedKey: generatePresharedKey(),
    allowedIps: [`10.91.${index >> 8}.${index & 255}/32`, `fd91::${index.toString(16)}/128`],
    ...change,
  };
}

const shown = (spec: PeerSpec): Omit<PeerReading, 'rxBytes' | 'txBytes' | 'latestHandshake'> => ({
  publicKey: spec.publicKey,
  presharedKey: spec.presharedKey,
  allowedIps: spec.allowedIps,
});

async function read(): Promise<NonNullable<Awaited<ReturnType<WireguardDriver['readDevice']>>>> {
  const reading = await driver.readDevice(name);
  if (reading === null) throw new Error('The device is not there');
  return reading;
}

const record = (): { pid: number; startTime: number; token: string } =>
  JSON.parse(readFileSync(join(dataDir, 'wireguard', `${name}.json`), 'utf8')) as ReturnType<typeof record>;

async function addresses(): Promise<string[]> {
  const rows = JSON.parse(await mustRun(['ip', '-j', 'addr', 'show', 'dev', name])) as {
    addr_info: { local: string; prefixlen: number; scope: string }[];
  }[];
  return rows
    .flatMap((row) => row.addr_info)
    .filter((info) => info.scope !== 'link')
    .map((info) => `${info.local}/${info.prefixlen}`)
    .sort();
}

/** A wireguard-go that the driver did not start; in a network namespace of its own when `prefix` says so. */
async function startStranger(prefix: string[] = []): Promise<ChildProcess> {
  const argv = [...prefix, 'wireguard-go', '-f', name];
  const child = spawn(argv[0]!, argv.slice(1), { stdio: 'ignore', env: { ...process.env, LOG_LEVEL: 'silent' } });
  strangers.push(child);
  await eventually(async () => (await runCommand(['wg', 'show', name])).code === 0, { intervalMs: 10 });
  return child;
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
}

async function setKey(privateKey: string): Promise<void> {
  const path = join(dataDir, 'key');
  writeFileSync(path, privateKey, { mode: 0o600 });
  await mustRun(['wg', 'set', name, 'private-key', path]);
}

beforeEach(() => {
  Logger.overrideLogger(false);
  dataDir = mkdtempSync(join(tmpdir(), 'causeway-driver-'));
  strangers = [];
  driver = newDriver();
});

afterEach(async () => {
  await Promise.all(strangers.map(stop));
  // A foreign device that the test left in our namespace has no other owner.
  await driver.removeDevice(name, server.publicKey).catch(() => {});
  await runCommand(['ip', 'link', 'del', 'dev', name]);
  rmSync(socket, { force: true });
  rmSync(dataDir, { recursive: true, force: true });
});

describe('what this host can do', () => {
  it('names wireguard-go when it is asked for', async () => {
    expect(await driver.capability()).toEqual({
      backend: 'wireguard-go',
      message: 'WireGuard runs as wireguard-go',
      hint: null,
    });
  });

  it('says that it is switched off, and does nothing then', async () => {
    driver = new WireguardDriver({ dataDir, wireguard: 'off', wireguardNat: true } as Config);
    expect((await driver.capability()).backend).toBeNull();
    await expect(driver.ensureDevice(device())).rejects.toThrow(TunnelUnavailableError);
    expect(await driver.readDevice(name)).toBeNull();
  });

  it('leaves no device behind from trying', async () => {
    await new WireguardDriver({ dataDir, wireguard: 'auto', wireguardNat: true } as Config).capability();
    expect(await mustRun(['ip', 'link'])).not.toContain('cwprobe');
  });
});

describe('keys made here', () => {
  it('are those that wg makes of them', async () => {
    for (let round = 0; round < 5; round += 1) {
      const { privateKey, publicKey } = generateKeyPair();
      expect((await mustRun(['wg', 'pubkey'], { input: privateKey })).trim()).toBe(publicKey);
      const theirs = (await mustRun(['wg', 'genkey'])).trim();
      expect(publicKeyOf(theirs)).toBe((await mustRun(['wg', 'pubkey'], { input: theirs })).trim());
    }
  });
});

describe('a device', () => {
  it('is made as wanted, by a process with a session of its own and nothing of our environment', async () => {
    process.env['CAUSEWAY_TEST_SECRET'] = 'not for others';
    await driver.ensureDevice(device());
    delete process.env['CAUSEWAY_TEST_SECRET'];
    expect(await read()).toMatchObject({ name, publicKey: server.publicKey, listenPort: 45_001, peers: [] });
    expect(await addresses()).toEqual(['10.91.0.1/24', 'fd91::1/64']);
    const [link] = JSON.parse(await mustRun(['ip', '-j', 'link', 'show', 'dev', name])) as [
      { mtu: number; flags: string[] },
    ];
    expect(link.mtu).toBe(1400);
    expect(link.flags).toContain('UP');
    const { pid } = record();
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    expect(Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[3])).toBe(pid);
    const names = readFileSync(`/proc/${pid}/environ`, 'utf8')
      .split('\0')
      .flatMap((line) => (line === '' ? [] : line.split('=').slice(0, 1)));
    expect(new Set(names)).toEqual(new Set(['CAUSEWAY_DEVICE', 'LOG_LEVEL', 'PATH', 'WG_PROCESS_FOREGROUND']));
  });

  it('is adopted after a restart, with its peers and its epoch', async () => {
    await driver.ensureDevice(device());
    const wanted = peer(2);
    await driver.changePeers(name, [{ action: 'set', peer: wanted }]);
    const before = await read();
    const { pid } = record();
    driver = newDriver();
    await driver.ensureDevice(device());
    expect(await read()).toEqual(before);
    expect(before.peers).toMatchObject([shown(wanted)]);
    expect(record().pid).toBe(pid);
    expect(Number.isSafeInteger(before.epoch)).toBe(true);
  });

  it('is adopted by its key alone when the record is lost, and removed without it', async () => {
    await driver.ensureDevice(device());
    const { epoch } = await read();
    const { pid } = record();
    rmSync(join(dataDir, 'wireguard'), { recursive: true });
    driver = newDriver();
    await driver.ensureDevice(device());
    expect((await read()).epoch).toBe(epoch);
    await driver.removeDevice(name, server.publicKey);
    expect(await driver.readDevice(name)).toBeNull();
    await eventually(() => !existsSync(`/proc/${pid}/fd/0`));
  });

  it('takes another port, MTU and other addresses with all peers left in place', async () => {
    await driver.ensureDevice(device());
    await driver.changePeers(name, [{ action: 'set', peer: peer(2) }]);
    const before = await read();
    await mustRun(['ip', 'addr', 'add', '10.92.0.1/24', 'dev', name]);
    await driver.ensureDevice(device({ listenPort: 45_002, addresses: ['10.91.0.7/24', 'fd91::7/64'], mtu: 1300 }));
    expect(await read()).toEqual({ ...before, listenPort: 45_002 });
    expect(await addresses()).toEqual(['10.91.0.7/24', 'fd91::7/64']);
    await mustRun(['ip', 'link', 'set', 'dev', name, 'down']);
    await driver.ensureDevice(device());
    expect(await read()).toEqual(before);
    expect(await addresses()).toEqual(['10.91.0.1/24', 'fd91::1/64']);
  });

  it('is refused a port that is in use, and nothing is left of it', async () => {
    const holder = createSocket('udp4');
    holder.bind(45_003);
    await once(holder, 'listening');
    await expect(driver.ensureDevice(device({ listenPort: 45_003 }))).rejects.toThrow(TunnelRefusedError);
    expect((await runCommand(['ip', 'link', 'show', 'dev', name])).code).not.toBe(0);
    expect(existsSync(socket)).toBe(false);
    expect(readdirSync(join(dataDir, 'wireguard'))).toEqual([]);

    await driver.ensureDevice(device());
    const before = await read();
    await expect(driver.ensureDevice(device({ listenPort: 45_003 }))).rejects.toThrow(/45003.*in use/);
    expect(await read()).toEqual(before);
    const probe = createSocket('udp4');
    probe.bind(45_001);
    expect(((await once(probe, 'error')) as [NodeJS.ErrnoException])[0].code).toBe('EADDRINUSE');
    probe.close();
    holder.close();
  });

  it('is made once by callers at the same time', async () => {
    await Promise.all([driver.ensureDevice(device()), driver.ensureDevice(device()), driver.ensureDevice(device())]);
    expect(await read()).toMatchObject({ publicKey: server.publicKey });
  });

  it('is refused with values that could not be applied', async () => {
    const wrong: Partial<DeviceSpec>[] = [
      { name: 'far-too-long-a-name' },
      { name: '-f' },
      { name: '..' },
      { name: 'a b' },
      { privateKey: 'AAAA' },
      { listenPort: 0 },
      { listenPort: 65_536 },
      { mtu: 1279 },
      { addresses: ['10.91.0.1'] },
      { addresses: ['10.91.0.1/33'] },
      { addresses: ['fd91::1%lo/64'] },
    ];
    for (const change of wrong) {
      await expect(driver.ensureDevice(device(change))).rejects.toThrow(TunnelRefusedError);
    }
  });

  it('goes away with its process, socket and record, once its key was named', async () => {
    await driver.ensureDevice(device());
    const { pid } = record();
    await expect(driver.removeDevice(name, generateKeyPair().publicKey)).rejects.toThrow(ForeignDeviceError);
    expect(await read()).toMatchObject({ publicKey: server.publicKey });
    await driver.removeDevice(name, server.publicKey);
    expect(await driver.readDevice(name)).toBeNull();
    expect(existsSync(socket)).toBe(false);
    expect(readdirSync(join(dataDir, 'wireguard'))).toEqual([]);
    await eventually(() => !existsSync(`/proc/${pid}/exe`) || readFileSync(`/proc/${pid}/cmdline`).length === 0);
    await driver.removeDevice(name, server.publicKey);
  });

  it('with another key is made anew when it was made here', async () => {
    await driver.ensureDevice(device());
    const { epoch } = await read();
    const other = generateKeyPair();
    await driver.ensureDevice(device({ privateKey: other.privateKey }));
    const reading = await read();
    expect(reading.publicKey).toBe(other.publicKey);
    expect(reading.epoch).not.toBe(epoch);
    await driver.removeDevice(name, other.publicKey);
  });
});

describe('a device that ends, hangs or was half made', () => {
  it('is made anew after its process was killed, with another epoch', async () => {
    await driver.ensureDevice(device());
    const { epoch } = await read();
    process.kill(record().pid, 'SIGKILL');
    await eventually(async () => (await driver.readDevice(name).catch(() => 'gone')) === null, { intervalMs: 10 });
    expect(existsSync(socket)).toBe(true);
    await expect(driver.changePeers(name, [{ action: 'set', peer: peer(2) }])).rejects.toThrow(TunnelUnavailableError);
    await driver.ensureDevice(device());
    expect(await read()).toMatchObject({ publicKey: server.publicKey, listenPort: 45_001 });
    expect((await read()).epoch).not.toBe(epoch);
  });

  it('is unavailable within the time limit while it hangs, and made anew after ten seconds', async () => {
    await driver.ensureDevice(device());
    const { epoch } = await read();
    const { pid } = record();
    process.kill(pid, 'SIGSTOP');
    const began = performance.now();
    await expect(driver.readDevice(name)).rejects.toThrow(TunnelUnavailableError);
    expect(performance.now() - began).toBeLessThan(6_000);
    await eventually(() => driver.ensureDevice(device()).then(() => true), { timeoutMs: 30_000, intervalMs: 10 });
    expect(performance.now() - began).toBeGreaterThan(9_900);
    expect(record().pid).not.toBe(pid);
    expect((await read()).epoch).not.toBe(epoch);
  });

  it('leaves nothing behind when it is removed after its process was killed', async () => {
    await driver.ensureDevice(device());
    process.kill(record().pid, 'SIGKILL');
    await eventually(async () => (await driver.readDevice(name).catch(() => 'gone')) === null, { intervalMs: 10 });
    await driver.removeDevice(name, server.publicKey);
    expect(existsSync(socket)).toBe(false);
    expect(readdirSync(join(dataDir, 'wireguard'))).toEqual([]);
  });

  it('goes away also when it hangs', async () => {
    await driver.ensureDevice(device());
    process.kill(record().pid, 'SIGSTOP');
    await driver.removeDevice(name, server.publicKey);
    expect(await driver.readDevice(name)).toBeNull();
    expect(existsSync(socket)).toBe(false);
  });

  it('is known as ours when the server died before it wrote down the process or set the key', async () => {
    await driver.ensureDevice(device());
    const { pid } = record();
    const path = join(dataDir, 'wireguard', `${name}.json`);
    const { pid: _, startTime: __, ...early } = record();
    writeFileSync(path, JSON.stringify(early));
    await setKey('');
    driver = newDriver();
    await driver.ensureDevice(device());
    expect(await read()).toMatchObject({ publicKey: server.publicKey, listenPort: 45_001 });
    await driver.removeDevice(name, server.publicKey);
    expect(existsSync(`/proc/${pid}/fd/0`)).toBe(false);
  });
});

describe('the way of the kernel', () => {
  // There is no kernel module here, but `wg` speaks to wireguard-go just as well: all but making the link is the same.
  it('sets, blocks, removes and reads peers as the other one does', async () => {
    await driver.ensureDevice(device());
    const kernel = new KernelTransport(new DeviceRecords(dataDir));
    const [one, two, three] = [peer(2), peer(3), peer(4)];
    const kept = peer(5);
    await driver.changePeers(name, [{ action: 'set', peer: kept }]);
    await kernel.change(
      name,
      [one, two, three].map((spec) => ({ action: 'set', peer: spec })),
    );
    const bare = { ...two, presharedKey: '', allowedIps: one.allowedIps };
    await kernel.change(name, [
      { action: 'remove', publicKey: one.publicKey },
      { action: 'set', peer: bare },
      { action: 'block', publicKey: three.publicKey },
      { action: 'block', publicKey: peer(9).publicKey },
      { action: 'remove', publicKey: peer(9).publicKey },
    ]);
    const byKey = (a: PeerReading, b: PeerReading): number => a.publicKey.localeCompare(b.publicKey);
    const seen = await kernel.read(name);
    const expected = await read();
    expect(seen.peers.sort(byKey)).toEqual(expected.peers.sort(byKey));
    expect(seen).toMatchObject({ publicKey: expected.publicKey, listenPort: expected.listenPort });
    expect(seen.peers).toHaveLength(3);
    expect(seen.peers).toEqual(
      expect.arrayContaining([
        expect.objectContaining(shown(kept)),
        expect.objectContaining({ publicKey: bare.publicKey, presharedKey: null, allowedIps: one.allowedIps }),
        expect.objectContaining({ publicKey: three.publicKey, allowedIps: [] }),
      ]),
    );
    expect(readdirSync(join(dataDir, 'wireguard')).sort()).toEqual([`${name}.json`, `${name}.log`]);
  });

  it('sets key and port alone, and says which port is in use', async () => {
    await driver.ensureDevice(device());
    await driver.changePeers(name, [{ action: 'set', peer: peer(2) }]);
    const kernel = new KernelTransport(new DeviceRecords(dataDir));
    const other = generateKeyPair();
    await kernel.configure(name, { privateKey: other.privateKey });
    expect(await kernel.identify(name)).toEqual({ publicKey: other.publicKey, listenPort: 45_001 });
    await kernel.configure(name, { privateKey: server.privateKey, listenPort: 45_002 });
    expect(await kernel.identify(name)).toEqual({ publicKey: server.publicKey, listenPort: 45_002 });
    const holder = createSocket('udp4');
    holder.bind(45_003);
    await once(holder, 'listening');
    await expect(kernel.configure(name, { listenPort: 45_003 })).rejects.toThrow(TunnelRefusedError);
    holder.close();
    expect((await kernel.read(name)).peers).toHaveLength(1);
  });
});

describe('what is not ours', () => {
  it('is a link of another kind', async () => {
    await mustRun(['ip', 'link', 'add', 'dev', name, 'type', 'veth', 'peer', 'name', 'cwtest1']);
    await expect(driver.ensureDevice(device())).rejects.toThrow(ForeignDeviceError);
    await expect(driver.removeDevice(name, server.publicKey)).rejects.toThrow(ForeignDeviceError);
    expect(await driver.readDevice(name)).toBeNull();
    await expect(driver.changePeers(name, [{ action: 'set', peer: peer(2) }])).rejects.toThrow(TunnelUnavailableError);
    await mustRun(['ip', 'link', 'show', 'dev', name]);
  });

  it('is a WireGuard device with another key, or with none', async () => {
    const stranger = await startStranger();
    await expect(driver.ensureDevice(device())).rejects.toThrow(ForeignDeviceError);
    const theirs = generateKeyPair();
    await setKey(theirs.privateKey);
    await expect(driver.ensureDevice(device())).rejects.toThrow(ForeignDeviceError);
    await expect(driver.removeDevice(name, server.publicKey)).rejects.toThrow(ForeignDeviceError);
    expect((await read()).publicKey).toBe(theirs.publicKey);
    expect(stranger.exitCode).toBeNull();
  });

  it('is a device in another network namespace, whose socket answers here', async () => {
    await startStranger(['unshare', '--net']);
    await setKey(server.privateKey);
    await expect(driver.ensureDevice(device())).rejects.toThrow(ForeignDeviceError);
    expect(await driver.readDevice(name)).toBeNull();
    await expect(driver.changePeers(name, [{ action: 'set', peer: peer(2) }])).rejects.toThrow(TunnelUnavailableError);
    await driver.removeDevice(name, server.publicKey);
    expect((await mustRun(['wg', 'show', name, 'public-key'])).trim()).toBe(server.publicKey);
    // A tun link of that name here does not make it ours either.
    await mustRun(['ip', 'tuntap', 'add', 'dev', name, 'mode', 'tun']);
    await expect(driver.ensureDevice(device())).rejects.toThrow(ForeignDeviceError);
    expect(await driver.readDevice(name)).toBeNull();
  });
});

describe('peers', () => {
  beforeEach(() => driver.ensureDevice(device()));

  it('are set, changed, blocked and removed in the order given', async () => {
    const [one, two, three] = [peer(2), peer(3), peer(4, { presharedKey: '' })];
    await driver.changePeers(
      name,
      [one, two, three].map((spec) => ({ action: 'set', peer: spec })),
    );
    const byKey = async (spec: PeerSpec): Promise<PeerReading | undefined> =>
      (await read()).peers.find((entry) => entry.publicKey === spec.publicKey);
    expect(await byKey(one)).toMatchObject(shown(one));
    expect(await byKey(three)).toMatchObject({ presharedKey: null });

    // The address of the removed peer is free for another within the same call.
    const moved = { ...two, allowedIps: one.allowedIps, presharedKey: '' };
    await driver.changePeers(name, [
      { action: 'remove', publicKey: one.publicKey },
      { action: 'set', peer: moved },
      { action: 'block', publicKey: three.publicKey },
      { action: 'block', publicKey: peer(9).publicKey },
      { action: 'remove', publicKey: peer(9).publicKey },
    ]);
    expect(await byKey(one)).toBeUndefined();
    expect(await byKey(moved)).toMatchObject({ allowedIps: one.allowedIps, presharedKey: null });
    expect(await byKey(three)).toMatchObject({ allowedIps: [] });
    expect((await read()).peers).toHaveLength(2);
  });

  it('are read with the ranges that the device made of them', async () => {
    await driver.changePeers(name, [
      { action: 'set', peer: peer(2, { allowedIps: ['10.91.7.9/24', 'FD91:0::00/64'] }) },
    ]);
    expect((await read()).peers[0]?.allowedIps).toEqual(['10.91.7.0/24', 'fd91::/64']);
  });

  it('are refused, all of a call, when one value is wrong or two claim the same range', async () => {
    const good = peer(2);
    const wrong: PeerSpec[] = [
      peer(3, { publicKey: 'AAAA' }),
      peer(3, { publicKey: server.publicKey }),
      peer(3, { presharedKey: 'x\nremove=true' }),
      peer(3, { allowedIps: ['10.91.0.3/32\nendpoint=1.2.3.4:5'] }),
      peer(3, { allowedIps: ['10.91.0.3'] }),
      peer(3, { allowedIps: ['010.91.0.3/32'] }),
      peer(3, { allowedIps: good.allowedIps }),
    ];
    for (const bad of wrong) {
      const changes = [good, bad].map((spec) => ({ action: 'set' as const, peer: spec }));
      await expect(driver.changePeers(name, changes)).rejects.toThrow(TunnelRefusedError);
    }
    await expect(driver.changePeers(name, [{ action: 'remove', publicKey: '' }])).rejects.toThrow(TunnelRefusedError);
    expect((await read()).peers).toEqual([]);
  });

  it('number ten thousand, set and read in one go', { timeout: 120_000 }, async () => {
    const keys = Buffer.alloc(32);
    const peers = Array.from({ length: 10_000 }, (_, index) => {
      keys.writeUInt32BE(index + 1);
      return peer(index + 256, { publicKey: keys.toString('base64') });
    });
    const changes = peers.map((spec) => ({ action: 'set' as const, peer: spec }));
    const timed = async <T>(what: string, work: () => Promise<T>): Promise<T> => {
      const began = performance.now();
      const result = await work();
      process.stdout.write(`${what}: ${(performance.now() - began).toFixed(1)} ms\n`);
      return result;
    };
    await timed('10,000 peers set', () => driver.changePeers(name, changes));
    await timed('10,000 peers set again', () => driver.changePeers(name, changes));
    let reading = await timed('10,000 peers read', read);
    reading = await timed('10,000 peers read again', read);
    expect(reading.peers).toHaveLength(10_000);
    const found = new Map(reading.peers.map((entry) => [entry.publicKey, entry]));
    for (const spec of peers) expect(found.get(spec.publicKey)).toMatchObject(shown(spec));
    await timed('adopted with 10,000 peers', () => driver.ensureDevice(device()));
    await timed('100 single changes', async () => {
      for (const change of changes.slice(0, 100)) await driver.changePeers(name, [change]);
    });
    await timed('10,000 peers blocked', () =>
      driver.changePeers(
        name,
        peers.map(({ publicKey }) => ({ action: 'block', publicKey })),
      ),
    );
    await timed('10,000 peers removed', () =>
      driver.changePeers(
        name,
        peers.map(({ publicKey }) => ({ action: 'remove', publicKey })),
      ),
    );
    expect((await read()).peers).toEqual([]);
  });
});
