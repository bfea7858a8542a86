import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import type { Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Logger } from '@nestjs/common';
import { afterAll, afterEach, beforeAll, beforeEach } from 'vitest';
import type { EngineSpec, InboundSpec, ProxyUserSpec } from '../../src/domain/xray/proxy-engine.port.js';
import { XrayDriver } from '../../src/drivers/xray/xray.driver.js';
import type { Config } from '../../src/platform/config/config.js';
import { mustRun, runCommand } from './command.js';
import { ProxyClient, freePort, startByteServer } from './proxy-client.js';

/** The engine under test, which is the client too. */
export const program = process.env['XRAY_BIN'] ?? 'v2ray';
export const isXray = (await runCommand([program, '-version'])).stdout.startsWith('Xray ');
export const MEGABYTE = 1024 * 1024;
/** Not in a private range, so that it stands for a public address of this host. */
export const publicAddress = `198.18.${100 + (process.pid % 100)}.${1 + Math.floor(Math.random() * 250)}`;
export const privateAddress = `10.99.${process.pid % 250}.${1 + Math.floor(Math.random() * 250)}`;

/** What a test works with; made anew for each, but for the file server. */
export const rig = {} as {
  dataDir: string;
  driver: XrayDriver;
  /** Of the inbound; free. */
  port: number;
  /** Of a ByteServer on all addresses of this host. */
  filesPort: number;
  clients: ProxyClient[];
};

export const newDriver = (change: Partial<Config> = {}): XrayDriver =>
  new XrayDriver({ dataDir: rig.dataDir, xray: 'auto', xrayBin: program, xrayApi: null, ...change } as Config);

export const user = (id: string, change: Partial<ProxyUserSpec> = {}): ProxyUserSpec => ({
  id,
  uuid: randomUUID(),
  flow: '',
  ...change,
});

export function inbound(users: ProxyUserSpec[], change: Partial<InboundSpec> = {}): InboundSpec {
  return {
    tag: 'main',
    listen: '0.0.0.0',
    port: rig.port,
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

export const spec = (users: ProxyUserSpec[], change: Partial<InboundSpec> = {}): EngineSpec => ({
  inbounds: [inbound(users, change)],
  accessLogPath: join(rig.dataDir, 'log', 'access.log'),
  reachableAddresses: [],
});

/** A client of the inbound with this user's credentials. */
export async function clientOf(
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
  rig.clients.push(client);
  return client;
}

export const usageOf = async (id: string) =>
  (await rig.driver.readUsage()).users.find((usage) => usage.id === id) ?? null;

export async function pid(): Promise<number> {
  const status = await rig.driver.status();
  if (status.pid === null) throw new Error(`The engine does not run: ${status.message}`);
  return status.pid;
}

export const downloads = (client: ProxyClient, bytes = 1_000): Promise<number> =>
  client.download(publicAddress, rig.filesPort, bytes, 3_000);

/** A certificate and its key as PEM, made by the engine's own tool. */
export async function certificate(): Promise<{ certificatePem: string; keyPem: string }> {
  const argv = isXray ? [program, 'tls', 'cert', '-domain=site.test'] : ['v2ctl', 'cert', '-domain=site.test'];
  const { certificate: chain, key } = JSON.parse(await mustRun(argv)) as { certificate: string[]; key: string[] };
  // Xray labels its PKCS #8 as a key of RSA.
  return { certificatePem: chain.join('\n'), keyPem: key.join('\n').replaceAll(' RSA PRIVATE', ' PRIVATE') };
}

/** Call it once in a test file: it has an engine's driver for each test, and ends what the test left. */
export function useProxyEngine(): void {
  let files: Server;

  beforeAll(async () => {
    for (const address of [publicAddress, privateAddress]) {
      await mustRun(['ip', 'address', 'replace', `${address}/32`, 'dev', 'lo']);
    }
    ({ server: files, port: rig.filesPort } = await startByteServer('0.0.0.0'));
  });

  afterAll(async () => {
    files.closeAllConnections();
    files.close();
    for (const address of [publicAddress, privateAddress]) {
      await runCommand(['ip', 'address', 'del', `${address}/32`, 'dev', 'lo']);
    }
  });

  beforeEach(async () => {
    Logger.overrideLogger(false);
    rig.dataDir = mkdtempSync(join(tmpdir(), 'causeway-xray-'));
    rig.clients = [];
    rig.driver = newDriver();
    rig.port = await freePort();
  });

  afterEach(async () => {
    for (const client of rig.clients) await client.stop();
    await rig.driver.stop();
    rmSync(rig.dataDir, { recursive: true, force: true });
  });
}
