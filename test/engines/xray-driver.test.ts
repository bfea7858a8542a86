import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import type { Server } from 'node:http';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer as createTlsServer } from 'node:tls';
import { Logger } from '@nestjs/common';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  type EngineSpec,
  type InboundSpec,
  ProxyRefusedError,
  ProxyUnavailableError,
  type ProxyUserSpec,
} from '../../src/domain/xray/proxy-engine.port.js';
import { XrayDriver } from '../../src/drivers/xray/xray.driver.js';
import type { Config } from '../../src/platform/config/config.js';
import { mustRun, runCommand } from '../support/command.js';
import { ProxyClient, freePort, startByteServer } from '../support/proxy-client.js';
import { eventually } from '../support/wait.js';

/** The engine under test, which is the client too. */
const program = process.env['XRAY_BIN'] ?? 'v2ray';
const isXray = /^Xray /.test((await runCommand([program, '-version'])).stdout);
const MEGABYTE = 1024 * 1024;
/** Not in a private range, so that it stands for a public address of this host. */
const publicAddress = `198.18.${100 + (process.pid % 100)}.${1 + Math.floor(Math.random() * 250)}`;
const privateAddress = `10.99.${process.pid % 250}.${1 + Math.floor(Math.random() * 250)}`;

let files: Server;
let filesPort: number;
let dataDir: string;
let driver: XrayDriver;
let clients: ProxyClient[];
let port: number;

const newDriver = (change: Partial<Config> = {}): XrayDriver =>
  new XrayDriver({ dataDir, xray: 'auto', xrayBin: program, xrayApi: null, ...change } as Config);

const user = (id: string, change: Partial<ProxyUserSpec> = {}): ProxyUserSpec => ({
  id,
  uuid: randomUUID(),
  flow: '',
  ...change,
});

function inbound(users: ProxyUserSpec[], change: Partial<InboundSpec> = {}): InboundSpec {
  return {
    tag: 'main',
    listen: '0.0.0.0',
    port,
    protocol: 'vless',
    network: 'tcp',
    path: '',
    host: '',
    security: 'none',
    certificate: null,
    reality: null,
    users,
    ...change,
  };
}

const spec = (users: ProxyUserSpec[], change: Partial<InboundSpec> = {}): EngineSpec => ({
  inbounds: [inbound(users, change)],
  accessLogPath: join(dataDir, 'log', 'access.log'),
  reachableAddresses: [],
});

/** A client of the inbound with this user's credentials. */
async function clientOf(
  { id: _, uuid, flow }: ProxyUserSpec,
  { protocol, network, path, security, port: to }: InboundSpec,
  streamSettings: object = {},
): Promise<ProxyClient> {
  const account = protocol === 'vless' ? { id: uuid, encryption: 'none', flow } : { id: uuid, alterId: 0 };
  const settings =
    protocol === 'trojan'
      ? { servers: [{ address: '127.0.0.1', port: to, password: uuid }] }
      : { vnext: [{ address: '127.0.0.1', port: to, users: [account] }] };
  const stream = { network, security, ...(network === 'ws' ? { wsSettings: { path } } : {}), ...streamSettings };
  const client = await ProxyClient.start(program, { protocol, settings, streamSettings: stream });
  clients.push(client);
  return client;
}

const usageOf = async (id: string) => (await driver.readUsage()).users.find((usage) => usage.id === id) ?? null;

async function pid(): Promise<number> {
  const status = await driver.status();
  if (status.pid === null) throw new Error(`The engine does not run: ${status.message}`);
  return status.pid;
}

const downloads = (client: ProxyClient, bytes = 1_000): Promise<number> =>
  client.download(publicAddress, filesPort, bytes, 3_000);

/** A certificate and its key as PEM, made by the engine's own tool. */
async function certificate(): Promise<{ certificatePem: string; keyPem: string }> {
  const argv = isXray ? [program, 'tls', 'cert', '-domain=site.test'] : ['v2ctl', 'cert', '-domain=site.test'];
  const { certificate: chain, key } = JSON.parse(await mustRun(argv)) as { certificate: string[]; key: string[] };
  // Xray labels its PKCS #8 as a key of RSA.
  return { certificatePem: chain.join('\n'), keyPem: key.join('\n').replaceAll(' RSA PRIVATE', ' PRIVATE') };
}

beforeAll(async () => {
  await mustRun(['ip', 'address', 'add', `${publicAddress}/32`, 'dev', 'lo']);
  await mustRun(['ip', 'address', 'add', `${privateAddress}/32`, 'dev', 'lo']);
  ({ server: files, port: filesPort } = await startByteServer('0.0.0.0'));
});

afterAll(async () => {
  files.closeAllConnections();
  files.close();
  await runCommand(['ip', 'address', 'del', `${publicAddress}/32`, 'dev', 'lo']);
  await runCommand(['ip', 'address', 'del', `${privateAddress}/32`, 'dev', 'lo']);
});

beforeEach(async () => {
  Logger.overrideLogger(false);
  dataDir = mkdtempSync(join(tmpdir(), 'causeway-xray-'));
  clients = [];
  driver = newDriver();
  port = await freePort();
});

afterEach(async () => {
  for (const client of clients) await client.stop();
  await driver.stop();
  rmSync(dataDir, { recursive: true, force: true });
});

describe('capability', () => {
  it('names the engine, its version and what it can do', async () => {
    const capability = await driver.capability();
    expect(capability).toMatchObject({ family: isXray ? 'xray' : 'v2ray', external: false });
    expect(capability.version).toMatch(/^\d+\.\d+/);
    expect(capability.securities.includes('reality')).toBe(isXray);
  });

  it('says what to install when there is no engine, and what is wrong with XRAY_BIN', async () => {
    const lost = newDriver({ xrayBin: '/nonexistent/xray' });
    expect(await lost.capability()).toMatchObject({ family: null, hint: 'Correct XRAY_BIN' });
    const other = newDriver({ xrayBin: '/bin/true' });
    expect(await other.capability()).toMatchObject({ family: null });
    await expect(other.ensureEngine(spec([]))).rejects.toThrow(ProxyUnavailableError);
    const off = newDriver({ xray: 'off' });
    expect(await off.capability()).toMatchObject({ family: null, message: expect.stringContaining('XRAY=off') });
    await expect(off.readUsage()).rejects.toThrow(ProxyUnavailableError);
    expect(await off.status()).toMatchObject({ state: 'stopped' });
  });
});

describe('traffic', () => {
  it.each([
    ['vless', 'tcp', ''],
    ['vless', 'ws', '/way/in'],
    ['vmess', 'ws', '/'],
    ['trojan', 'tcp', ''],
  ] as const)('of %s over %s goes through and is counted', async (protocol, network, path) => {
    const ann = user('ann');
    const wanted = spec([ann], { protocol, network, path });
    expect(await driver.ensureEngine(wanted)).toEqual({ restarted: true });
    const client = await clientOf(ann, wanted.inbounds[0]!);
    expect(await downloads(client, 3 * MEGABYTE)).toBe(3 * MEGABYTE);
    const usage = await eventually(() => usageOf('ann'));
    expect(usage.downBytes).toBeGreaterThanOrEqual(3 * MEGABYTE);
    expect(usage.downBytes).toBeLessThan(3.1 * MEGABYTE);
    expect(usage.upBytes).toBeGreaterThan(0);
    expect(readFileSync(wanted.accessLogPath!, 'utf8')).toMatch(/accepted tcp:.* email: ann/);
  });

  it('goes through TLS with a certificate as text', async () => {
    const ann = user('ann');
    const wanted = spec([ann], { security: 'tls', certificate: await certificate() });
    await driver.ensureEngine(wanted);
    const tlsSettings = isXray ? await pinned(wanted.inbounds[0]!) : { allowInsecure: true, serverName: 'site.test' };
    const client = await clientOf(ann, wanted.inbounds[0]!, { tlsSettings });
    expect(await downloads(client)).toBe(1_000);
  });

  it.runIf(isXray)('goes through REALITY with vision', async () => {
    const site = await certificate();
    const borrowed = createTlsServer({ cert: site.certificatePem, key: site.keyPem, minVersion: 'TLSv1.3' });
    borrowed.listen(0, publicAddress);
    await once(borrowed, 'listening');
    try {
      const keys = driver.generateRealityKeys();
      const dest = `${publicAddress}:${(borrowed.address() as { port: number }).port}`;
      const reality = { privateKey: keys.privateKey, dest, serverNames: ['site.test'], shortIds: ['0123abcd'] };
      const ann = user('ann', { flow: 'xtls-rprx-vision' });
      const wanted = spec([], { security: 'reality', reality });
      await driver.ensureEngine(wanted);
      await driver.addUsers('main', [ann]);
      const realitySettings = {
        serverName: 'site.test',
        fingerprint: 'chrome',
        publicKey: keys.publicKey,
        shortId: '0123abcd',
      };
      const client = await clientOf(ann, wanted.inbounds[0]!, { realitySettings });
      expect(await downloads(client, MEGABYTE)).toBe(MEGABYTE);
      expect((await usageOf('ann'))!.downBytes).toBeGreaterThanOrEqual(MEGABYTE);
      expect(JSON.stringify(await driver.readConfig())).not.toContain(keys.privateKey);
    } finally {
      borrowed.close();
    }
  });

  it.runIf(isXray).each([
    ['grpc', 'way', (path: string) => ({ grpcSettings: { serviceName: path } })],
    ['xhttp', '/way', (path: string) => ({ xhttpSettings: { path } })],
    ['httpupgrade', '/way', (path: string) => ({ httpupgradeSettings: { path } })],
  ] as const)('goes over %s', async (network, path, settings) => {
    const ann = user('ann');
    const wanted = spec([ann], { network, path });
    await driver.ensureEngine(wanted);
    const client = await clientOf(ann, wanted.inbounds[0]!, settings(path));
    expect(await downloads(client)).toBe(1_000);
  });
});

/** How a client of Xray, which takes no unknown certificate any more, is told to take this one. */
async function pinned({ certificate: given }: InboundSpec): Promise<object> {
  const path = join(dataDir, 'pin.pem');
  writeFileSync(path, (given as { certificatePem: string }).certificatePem);
  return {
    serverName: 'site.test',
    disableSystemRoot: true,
    certificates: [{ usage: 'verify', certificateFile: path }],
  };
}

describe('users', () => {
  it('come and go without a restart; connections that stand go on', async () => {
    const [ann, ben] = [user('ann'), user('ben')];
    await driver.ensureEngine(spec([ann]));
    const before = await pid();
    const client = await clientOf(ben, inbound([]));
    expect(await downloads(client)).toBe(0);

    await driver.addUsers('main', [ben]);
    expect(await downloads(client)).toBe(1_000);
    const standing = await client.connect(publicAddress, filesPort);
    standing.write('GET /10 HTTP/1.1\r\nHost: test\r\n\r\n');
    await once(standing, 'data');

    await driver.removeUsers('main', ['ben', 'nobody']);
    expect(await downloads(client)).toBe(0);
    standing.write('GET /10 HTTP/1.1\r\nHost: test\r\n\r\n');
    await once(standing, 'data');
    standing.destroy();
    expect(await pid()).toBe(before);
    expect((await usageOf('ben'))!.downBytes).toBeGreaterThan(1_000);
  });

  it('get new credentials at once, by addUsers and by ensureEngine', async () => {
    const old = user('ann');
    await driver.ensureEngine(spec([old]));
    const oldClient = await clientOf(old, inbound([]));
    expect(await downloads(oldClient)).toBe(1_000);
    const fresh = user('ann');
    await driver.addUsers('main', [fresh]);
    await driver.addUsers('main', [fresh]);
    const freshClient = await clientOf(fresh, inbound([]));
    expect(await downloads(freshClient)).toBe(1_000);
    expect(await downloads(oldClient)).toBe(0);
    expect(await driver.ensureEngine(spec([old]))).toEqual({ restarted: false });
    expect(await downloads(oldClient)).toBe(1_000);
    expect(await downloads(freshClient)).toBe(0);
  });

  it('may swap their UUIDs', async () => {
    const [one, two] = [randomUUID(), randomUUID()];
    await driver.ensureEngine(spec([user('ann', { uuid: one }), user('ben', { uuid: two })]));
    const [ann, ben] = [user('ann', { uuid: two }), user('ben', { uuid: one })];
    expect(await driver.ensureEngine(spec([ann, ben]))).toEqual({ restarted: false });
    expect(await downloads(await clientOf(ann, inbound([])))).toBe(1_000);
    expect(await downloads(await clientOf(ben, inbound([])))).toBe(1_000);
  });

  it('that do not fit are refused before anything reaches the engine', async () => {
    const ann = user('ann');
    await driver.ensureEngine(spec([ann], { protocol: 'vmess' }));
    const before = await pid();
    const wrong: [string, ProxyUserSpec[]][] = [
      ['main', [user('ben', { flow: 'xtls-rprx-vision' })]],
      ['main', [user('ben', { uuid: 'no-uuid' })]],
      ['main', [user('Ben')]],
      ['main', [user('a>>>b')]],
      ['main', [user('ben', { uuid: ann.uuid.toUpperCase() })]],
      ['main', [user('ben'), user('ben')]],
      ['other', [user('ben')]],
      ['causeway-api', [user('ben')]],
    ];
    for (const [tag, users] of wrong) {
      await expect(driver.addUsers(tag, users), JSON.stringify(users)).rejects.toThrow(ProxyRefusedError);
    }
    await expect(driver.removeUsers('main', ['a\nb'])).rejects.toThrow(ProxyRefusedError);
    expect(await pid()).toBe(before);
    expect(await downloads(await clientOf(ann, inbound([], { protocol: 'vmess' })))).toBe(1_000);
  });

  it('come by the thousand in one go', async () => {
    const users = Array.from({ length: 2_000 }, (_, index) => user(`u${index}`));
    await driver.ensureEngine(spec([]));
    expect(await driver.ensureEngine(spec(users))).toEqual({ restarted: false });
    expect(await downloads(await clientOf(users[1_999]!, inbound([])))).toBe(1_000);
    expect(await driver.ensureEngine(spec(users.slice(0, 1)))).toEqual({ restarted: false });
    expect(await downloads(await clientOf(users[1]!, inbound([])))).toBe(0);
  });
});

describe('what clients may reach', () => {
  it('is neither this host nor a private network, by address or by name, but its public addresses', async () => {
    const ann = user('ann');
    await driver.ensureEngine(spec([ann]));
    const client = await clientOf(ann, inbound([]));
    const closed = ['127.0.0.1', '127.9.9.9', '0.0.0.0', '::1', '::ffff:7f00:1', 'localhost', '127.1', privateAddress];
    for (const host of closed) expect(await downloads2(client, host), host).toBe(0);
    expect(await downloads(client)).toBe(1_000);
  });

  it.each(['vless', 'trojan', 'vmess'] as const)(
    'is the same for datagrams of %s, also behind a first one that may go',
    async (protocol) => {
      const ann = user('ann');
      const wanted = spec([ann], { protocol });
      await driver.ensureEngine(wanted);
      const echo = createSocket('udp4');
      echo.on('message', (message, from) => echo.send(message, from.port, from.address));
      echo.bind(0, '0.0.0.0');
      await once(echo, 'listening');
      const { port: echoPort } = echo.address();
      const datagrams = await (await clientOf(ann, wanted.inbounds[0]!)).associate();
      try {
        // Where the engine cannot tell them apart, none goes.
        const passes = (await driver.capability()).hint === null;
        expect(await datagrams.ask(publicAddress, echoPort, 'one', passes ? 5_000 : 700)).toBe(passes);
        for (const host of ['127.0.0.1', privateAddress, 'localhost']) {
          expect(await datagrams.ask(host, echoPort, `two ${host}`, 700), host).toBe(false);
        }
        if (passes) expect(await datagrams.ask(publicAddress, echoPort, 'three', 5_000)).toBe(true);
      } finally {
        datagrams.close();
        echo.close();
      }
    },
  );

  it('takes in a private address that is told to be reachable', async () => {
    const ann = user('ann');
    await driver.ensureEngine({ ...spec([ann]), reachableAddresses: [privateAddress] });
    const client = await clientOf(ann, inbound([]));
    expect(await downloads2(client, privateAddress)).toBe(1_000);
    expect(await downloads2(client, '127.0.0.1')).toBe(0);
    const never = { ...spec([ann]), reachableAddresses: ['127.0.0.1'] };
    await expect(driver.ensureEngine(never)).rejects.toThrow(ProxyRefusedError);
  });

  it('has no port of the API, whose socket is for the owner alone', async () => {
    await driver.ensureEngine(spec([]));
    const sockets = await mustRun(['ss', '-H', '-t', '-l', '-n', '-p']);
    const engine = await pid();
    expect(sockets.split('\n').filter((line) => line.includes(`pid=${engine},`)).length).toBe(1);
    expect(statSync(join(dataDir, 'xray')).mode & 0o777).toBe(0o700);
    expect(statSync(join(dataDir, 'xray', 'config.json')).mode & 0o777).toBe(0o600);
    expect(statSync(join(dataDir, 'xray', 'last-good.json')).mode & 0o777).toBe(0o600);
  });
});

const downloads2 = (client: ProxyClient, host: string): Promise<number> =>
  client.download(host, filesPort, 1_000, 1_500).catch(() => 0);

describe('life', () => {
  it('goes on without us, and is adopted again with its users and counters', async () => {
    const [ann, ben, cat] = [user('ann'), user('ben'), user('cat')];
    await driver.ensureEngine(spec([ann, ben]));
    const before = await pid();
    const client = await clientOf(ann, inbound([]));
    const standing = await client.connect(publicAddress, filesPort);
    // Not in the file yet when the next one finds the engine: only the journal tells of it.
    await driver.addUsers('main', [cat]);
    expect(readFileSync(join(dataDir, 'xray', 'config.json'), 'utf8')).not.toContain('"cat"');
    const { epoch } = await driver.readUsage();

    driver = newDriver();
    expect(await driver.status()).toMatchObject({ state: 'running', pid: before });
    expect(await driver.ensureEngine(spec([ann]))).toEqual({ restarted: false });
    expect((await driver.readUsage()).epoch).toBe(epoch);
    standing.write('GET /10 HTTP/1.1\r\nHost: test\r\n\r\n');
    await once(standing, 'data');
    standing.destroy();
    expect(await downloads(client)).toBe(1_000);
    expect(await downloads(await clientOf(ben, inbound([])))).toBe(0);
    expect(await downloads(await clientOf(cat, inbound([])))).toBe(0);
  });

  it('is found by its mark when the pid was never written down', async () => {
    await driver.ensureEngine(spec([]));
    const before = await pid();
    const path = join(dataDir, 'xray', 'engine.json');
    const {
      pid: _pid,
      startTime: _startTime,
      ...intent
    } = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
    writeFileSync(path, JSON.stringify(intent));
    driver = newDriver();
    expect(await driver.ensureEngine(spec([]))).toEqual({ restarted: false });
    expect(await pid()).toBe(before);
  });

  it('begins again with all users after a kill; counters have another epoch', async () => {
    const ann = user('ann');
    await driver.ensureEngine(spec([]));
    await driver.addUsers('main', [ann]);
    const { epoch } = await driver.readUsage();
    process.kill(await pid(), 'SIGKILL');
    await eventually(async () => (await driver.status()).state === 'stopped', { intervalMs: 5 });
    await expect(driver.readUsage()).rejects.toThrow(ProxyUnavailableError);
    await expect(driver.addUsers('main', [user('ben')])).rejects.toThrow(ProxyUnavailableError);
    expect(existsSync(join(dataDir, 'xray', 'api.sock'))).toBe(true);
    expect(await driver.ensureEngine(spec([ann]))).toEqual({ restarted: true });
    expect(await downloads(await clientOf(ann, inbound([])))).toBe(1_000);
    expect((await driver.readUsage()).epoch).not.toBe(epoch);
  });

  it('is ended by force when it hangs for long, and unavailable until then', async () => {
    const ann = user('ann');
    await driver.ensureEngine(spec([ann]));
    const before = await pid();
    process.kill(before, 'SIGSTOP');
    try {
      expect((await driver.status()).state).toBe('hung');
      await expect(driver.ensureEngine(spec([ann]))).rejects.toThrow(ProxyUnavailableError);
      await eventually(() => driver.ensureEngine(spec([ann])), { timeoutMs: 30_000 });
    } finally {
      killQuietly(before);
    }
    expect(await pid()).not.toBe(before);
    expect(await downloads(await clientOf(ann, inbound([])))).toBe(1_000);
  });

  it('goes on when an engine that hung comes back', async () => {
    await driver.ensureEngine(spec([]));
    const before = await pid();
    process.kill(before, 'SIGSTOP');
    await expect(driver.addUsers('main', [user('ann')])).rejects.toThrow(ProxyUnavailableError);
    process.kill(before, 'SIGCONT');
    // What became of ann is not known: a spec without her must take her away.
    await eventually(() => driver.ensureEngine(spec([])));
    expect(await pid()).toBe(before);
    expect(await driver.readUsage()).toMatchObject({ users: [] });
  });

  it('starts whatever lies where its socket goes', async () => {
    mkdirSync(join(dataDir, 'xray', 'api.sock', 'x'), { recursive: true });
    await driver.ensureEngine(spec([]));
    expect((await driver.status()).state).toBe('running');
  });

  it('is restarted when asked to, and stopped', async () => {
    const ann = user('ann');
    await driver.restart(spec([ann]));
    const before = await pid();
    await driver.restart(spec([ann]));
    expect(await pid()).not.toBe(before);
    await driver.stop();
    await driver.stop();
    expect(await driver.status()).toMatchObject({ state: 'stopped', pid: null, uptimeSeconds: null });
  });

  it('stays one when many ask at once', async () => {
    const users = Array.from({ length: 10 }, (_, index) => user(`u${index}`));
    await Promise.all(users.map(() => driver.ensureEngine(spec([]))));
    const before = await pid();
    await Promise.all(users.map((each) => driver.addUsers('main', [each])));
    expect(await pid()).toBe(before);
    const found = await mustRun(['pgrep', '-f', join(dataDir, 'xray', 'config.json')]);
    expect(found.trim().split('\n')).toEqual([String(before)]);
  });
});

describe('a config', () => {
  it('that the engine refuses changes nothing', async () => {
    const ann = user('ann');
    await driver.ensureEngine(spec([ann]));
    const before = await pid();
    const broken = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----';
    const refused = spec([ann], { security: 'tls', certificate: { certificatePem: broken, keyPem: broken } });
    await expect(driver.ensureEngine(refused)).rejects.toThrow(ProxyRefusedError);
    expect(await pid()).toBe(before);
    expect(await driver.ensureEngine(spec([ann]))).toEqual({ restarted: false });
    expect(await downloads(await clientOf(ann, inbound([])))).toBe(1_000);
  });

  it('with a port that is taken cuts nobody off', async () => {
    const ann = user('ann');
    const taken = createServer().listen(0);
    await once(taken, 'listening');
    const other = (taken.address() as { port: number }).port;
    try {
      await expect(driver.ensureEngine(spec([ann], { port: other }))).rejects.toThrow(`The port ${other} is in use`);
      expect((await driver.status()).state).toBe('stopped');
      await driver.ensureEngine(spec([ann]));
      const before = await pid();
      await expect(driver.ensureEngine(spec([ann], { port: other }))).rejects.toThrow(`The port ${other} is in use`);
      expect(await pid()).toBe(before);
    } finally {
      taken.close();
    }
  });

  it('that does not start gives way to the last good one, without users who may not connect any more', async () => {
    const [ann, ben] = [user('ann'), user('ben')];
    await driver.ensureEngine(spec([ann, ben]));
    // No address of this host: the engine's own check passes, its start fails.
    const wrong = spec([ann], { listen: '203.0.113.77' });
    await expect(driver.ensureEngine(wrong)).rejects.toThrow(ProxyRefusedError);
    expect((await driver.status()).state).toBe('running');
    expect(await downloads(await clientOf(ann, inbound([])))).toBe(1_000);
    expect(await downloads(await clientOf(ben, inbound([])))).toBe(0);
    expect(await driver.ensureEngine(spec([ann, ben]))).toEqual({ restarted: false });
    expect(await downloads(await clientOf(ben, inbound([])))).toBe(1_000);
  });

  it('that was spoilt by hand is written anew, and the engine goes on', async () => {
    const ann = user('ann');
    const path = join(dataDir, 'xray', 'config.json');
    await driver.ensureEngine(spec([ann]));
    const before = await pid();
    const good = readFileSync(path, 'utf8');
    writeFileSync(path, '{ "inbounds": [');
    expect(await driver.ensureEngine(spec([ann]))).toEqual({ restarted: false });
    expect(readFileSync(path, 'utf8')).toBe(good);
    writeFileSync(path, '');
    driver = newDriver();
    expect(await driver.ensureEngine(spec([ann]))).toEqual({ restarted: false });
    expect(readFileSync(path, 'utf8')).toBe(good);
    expect(await pid()).toBe(before);
  });

  it('follows the users soon after a change', async () => {
    await driver.ensureEngine(spec([]));
    await driver.addUsers('main', [user('ann')]);
    const path = join(dataDir, 'xray', 'config.json');
    await eventually(() => readFileSync(path, 'utf8').includes('"ann"'));
    await eventually(() => !existsSync(join(dataDir, 'xray', 'changes.log')));
  });

  it('goes without an access log where none can be written', async () => {
    const ann = user('ann');
    writeFileSync(join(dataDir, 'log'), 'in the way');
    await driver.ensureEngine(spec([ann]));
    const before = await pid();
    expect(await driver.ensureEngine(spec([ann]))).toEqual({ restarted: false });
    rmSync(join(dataDir, 'log'));
    expect(await driver.ensureEngine(spec([ann]))).toEqual({ restarted: true });
    expect(await pid()).not.toBe(before);
    await downloads(await clientOf(ann, inbound([])));
    expect(readFileSync(join(dataDir, 'log', 'access.log'), 'utf8')).toContain('email: ann');
  });

  it('is shown without secrets', async () => {
    const ann = user('ann');
    expect(await driver.readConfig()).toBeNull();
    await driver.ensureEngine(spec([ann]));
    const shown = JSON.stringify(await driver.readConfig());
    expect(shown).toContain('"email":"ann"');
    expect(shown).not.toContain(ann.uuid);
  });
});

describe('cutting off', () => {
  it('closes what stands from an address, or says that this host cannot', async () => {
    const ann = user('ann');
    await driver.ensureEngine(spec([ann]));
    const client = await clientOf(ann, inbound([]));
    const standing = await client.connect(publicAddress, filesPort);
    standing.write('GET /10 HTTP/1.1\r\nHost: test\r\n\r\n');
    await once(standing, 'data');
    await driver.removeUsers('main', ['ann']);
    expect(await driver.cutOff([])).toBe(true);
    await expect(driver.cutOff(['127.0.0.1; reboot'])).rejects.toThrow(ProxyRefusedError);
    const closed = once(standing, 'close');
    if (await driver.cutOff(['127.0.0.1'])) await closed;
    else standing.destroy();
  });
});

describe('an engine at XRAY_API', () => {
  let child: ChildProcess;
  let apiPort: number;
  let external: XrayDriver;

  async function startStranger(): Promise<void> {
    const config = {
      log: { loglevel: 'none' },
      stats: {},
      api: { tag: 'api', services: ['HandlerService', 'StatsService'] },
      policy: { levels: { '0': { statsUserUplink: true, statsUserDownlink: true } } },
      inbounds: [
        { tag: 'main', listen: '127.0.0.1', port, protocol: 'vless', settings: { clients: [], decryption: 'none' } },
        {
          tag: 'api-in',
          listen: '127.0.0.1',
          port: apiPort,
          protocol: 'dokodemo-door',
          settings: { address: '127.0.0.1' },
        },
      ],
      // Xray of 2026 keeps clients from the addresses of the tests by itself.
      outbounds: [{ protocol: 'freedom', settings: { finalRules: [{ action: 'allow' }] } }],
      routing: { rules: [{ type: 'field', inboundTag: ['api-in'], outboundTag: 'api' }] },
    };
    const path = join(dataDir, 'stranger.json');
    writeFileSync(path, JSON.stringify(config));
    child = spawn(program, ['-config', path], { stdio: 'ignore' });
    await eventually(async () => (await external.status()).state === 'running', { intervalMs: 20 });
  }

  async function endStranger(): Promise<void> {
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  }

  beforeEach(async () => {
    apiPort = await freePort();
    external = newDriver({ xrayApi: `127.0.0.1:${apiPort}` });
    await startStranger();
  });

  afterEach(endStranger);

  it('is known by its family, keeps its epoch, and is never restarted by us', async () => {
    expect(await external.capability()).toMatchObject({ family: isXray ? 'xray' : 'v2ray', external: true });
    const { epoch } = await external.readUsage();
    expect((await external.readUsage()).epoch).toBe(epoch);
    await expect(external.restart(spec([]))).rejects.toThrow(ProxyRefusedError);
    await external.stop();
    expect((await external.status()).state).toBe('running');
    external = newDriver({ xrayApi: `127.0.0.1:${apiPort}` });
    expect((await external.readUsage()).epoch).toBe(epoch);
    // Engines tell whole seconds: another life shows when fewer have passed.
    await eventually(async () => (await external.status()).uptimeSeconds! >= 2);
    expect((await external.readUsage()).epoch).toBe(epoch);
    await endStranger();
    await expect(external.readUsage()).rejects.toThrow(ProxyUnavailableError);
    expect(await external.capability()).toMatchObject({ family: null, external: true });
    await startStranger();
    await eventually(async () => (await external.readUsage()).epoch !== epoch);
  });

  it.runIf(isXray)('gets and loses users of ours, and nobody else does', async () => {
    const [ann, ben] = [user('ann'), user('ben')];
    await expect(external.ensureEngine(spec([ann], { protocol: 'trojan' }))).rejects.toThrow('is vless, not trojan');
    await expect(external.ensureEngine(spec([ann], { tag: 'other' }))).rejects.toThrow('has no inbound other');
    await external.ensureEngine(spec([ann]));
    await external.addUsers('main', [ben]);
    expect(await downloads(await clientOf(ann, inbound([])))).toBe(1_000);
    const client = await clientOf(ben, inbound([]));
    expect(await downloads(client)).toBe(1_000);
    external = newDriver({ xrayApi: `127.0.0.1:${apiPort}` });
    await external.ensureEngine(spec([ann]));
    expect(await downloads(client)).toBe(0);
    await endStranger();
    await expect(external.ensureEngine(spec([ann]))).rejects.toThrow(ProxyUnavailableError);
    await startStranger();
    await eventually(() => external.ensureEngine(spec([ann])));
    expect(await downloads(await clientOf(ann, inbound([])))).toBe(1_000);
  });

  it.runIf(!isXray)('that cannot say what its inbounds are gets no user', async () => {
    await expect(external.ensureEngine(spec([user('ann')]))).rejects.toThrow(ProxyRefusedError);
    expect((await external.status()).state).toBe('running');
  });
});

function killQuietly(target: number): void {
  try {
    process.kill(target, 'SIGKILL');
  } catch {
    // It is gone, as it should be.
  }
}
