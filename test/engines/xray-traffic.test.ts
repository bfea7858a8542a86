import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createServer as createTlsServer } from 'node:tls';
import { describe, expect, it } from 'vitest';
import { type InboundSpec, ProxyRefusedError } from '../../src/domain/xray/proxy-engine.port.js';
import { mustRun } from '../support/command.js';
import type { ProxyClient } from '../support/proxy-client.js';
import {
  MEGABYTE,
  certificate,
  clientOf,
  downloads,
  inbound,
  isXray,
  pid,
  privateAddress,
  publicAddress,
  rig,
  spec,
  usageOf,
  user,
  useProxyEngine,
} from '../support/proxy-engine.js';
import { eventually } from '../support/wait.js';

useProxyEngine();

describe('traffic', () => {
  it.each([
    ['vless', 'tcp', ''],
    ['vless', 'ws', '/way/in'],
    ['vmess', 'ws', '/'],
    ['trojan', 'tcp', ''],
  ] as const)('of %s over %s goes through and is counted', async (protocol, network, path) => {
    const ann = user('ann');
    const wanted = spec([ann], { protocol, network, path });
    expect(await rig.driver.ensureEngine(wanted)).toEqual({ restarted: true });
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
    await rig.driver.ensureEngine(wanted);
    const tlsSettings = isXray ? await pinned(wanted.inbounds[0]!) : { allowInsecure: true, serverName: 'site.test' };
    const client = await clientOf(ann, wanted.inbounds[0]!, { tlsSettings });
    expect(await downloads(client)).toBe(1_000);
  });

  it('goes through REALITY with vision, where the engine has it', async () => {
    const site = await certificate();
    const borrowed = createTlsServer({ cert: site.certificatePem, key: site.keyPem, minVersion: 'TLSv1.3' });
    borrowed.listen(0, publicAddress);
    await once(borrowed, 'listening');
    try {
      const keys = rig.driver.generateRealityKeys();
      const dest = `${publicAddress}:${(borrowed.address() as { port: number }).port}`;
      const reality = { privateKey: keys.privateKey, dest, serverNames: ['site.test'], shortIds: ['0123abcd'] };
      const ann = user('ann', { flow: 'xtls-rprx-vision' });
      const wanted = spec([], { security: 'reality', reality });
      if (!isXray) {
        await expect(rig.driver.ensureEngine(wanted)).rejects.toThrow('has no security');
        return;
      }
      await rig.driver.ensureEngine(wanted);
      await rig.driver.addUsers('main', [ann]);
      const realitySettings = {
        serverName: 'site.test',
        fingerprint: 'chrome',
        publicKey: keys.publicKey,
        shortId: '0123abcd',
      };
      const client = await clientOf(ann, wanted.inbounds[0]!, { realitySettings });
      expect(await downloads(client, MEGABYTE)).toBe(MEGABYTE);
      expect((await usageOf('ann'))!.downBytes).toBeGreaterThanOrEqual(MEGABYTE);
      expect(JSON.stringify(await rig.driver.readConfig())).not.toContain(keys.privateKey);
    } finally {
      borrowed.close();
    }
  });

  it.each([
    ['grpc', 'way', (path: string) => ({ grpcSettings: { serviceName: path } })],
    ['xhttp', '/way', (path: string) => ({ xhttpSettings: { path } })],
    ['httpupgrade', '/way', (path: string) => ({ httpupgradeSettings: { path } })],
  ] as const)('goes over %s, where the engine has it', async (network, path, settings) => {
    const ann = user('ann');
    const wanted = spec([ann], { network, path });
    if (!isXray) {
      await expect(rig.driver.ensureEngine(wanted)).rejects.toThrow('has no network');
      return;
    }
    await rig.driver.ensureEngine(wanted);
    const client = await clientOf(ann, wanted.inbounds[0]!, settings(path));
    expect(await downloads(client)).toBe(1_000);
  });
});

describe('what clients may reach', () => {
  it('is neither this host nor a private network, by address or by name, but its public addresses', async () => {
    const ann = user('ann');
    await rig.driver.ensureEngine(spec([ann]));
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
      await rig.driver.ensureEngine(wanted);
      const echo = createSocket('udp4');
      echo.on('message', (message, from) => echo.send(message, from.port, from.address));
      echo.bind(0, '0.0.0.0');
      await once(echo, 'listening');
      const { port: echoPort } = echo.address();
      const datagrams = await (await clientOf(ann, wanted.inbounds[0]!)).associate();
      try {
        // Where the engine cannot tell them apart, none goes.
        const passes = (await rig.driver.capability()).hint === null;
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
    await rig.driver.ensureEngine({ ...spec([ann]), reachableAddresses: [privateAddress] });
    const client = await clientOf(ann, inbound([]));
    expect(await downloads2(client, privateAddress)).toBe(1_000);
    expect(await downloads2(client, '127.0.0.1')).toBe(0);
    const never = { ...spec([ann]), reachableAddresses: ['127.0.0.1'] };
    await expect(rig.driver.ensureEngine(never)).rejects.toThrow(ProxyRefusedError);
  });

  it('has no port of the API, whose socket is for the owner alone', async () => {
    await rig.driver.ensureEngine(spec([]));
    const sockets = await mustRun(['ss', '-H', '-t', '-l', '-n', '-p']);
    const engine = await pid();
    expect(sockets.split('\n').filter((line) => line.includes(`pid=${engine},`)).length).toBe(1);
    expect(statSync(join(rig.dataDir, 'xray')).mode & 0o777).toBe(0o700);
    expect(statSync(join(rig.dataDir, 'xray', 'config.json')).mode & 0o777).toBe(0o600);
    expect(statSync(join(rig.dataDir, 'xray', 'last-good.json')).mode & 0o777).toBe(0o600);
  });
});

describe('cutting off', () => {
  it('closes what stands from an address, or says that this host cannot', async () => {
    const ann = user('ann');
    await rig.driver.ensureEngine(spec([ann]));
    const client = await clientOf(ann, inbound([]));
    const standing = await client.connect(publicAddress, rig.filesPort);
    standing.write('GET /10 HTTP/1.1\r\nHost: test\r\n\r\n');
    await once(standing, 'data');
    await rig.driver.removeUsers('main', ['ann']);
    expect(await rig.driver.cutOff([])).toBe(true);
    await expect(rig.driver.cutOff(['127.0.0.1; reboot'])).rejects.toThrow(ProxyRefusedError);
    const closed = once(standing, 'close');
    if (await rig.driver.cutOff(['127.0.0.1'])) await closed;
    else standing.destroy();
  });
});

const downloads2 = (client: ProxyClient, host: string): Promise<number> =>
  client.download(host, rig.filesPort, 1_000, 1_500).catch(() => 0);

/** How a client of Xray, which takes no unknown certificate any more, is told to take this one. */
async function pinned({ certificate: given }: InboundSpec): Promise<object> {
  const path = join(rig.dataDir, 'pin.pem');
  writeFileSync(path, (given as { certificatePem: string }).certificatePem);
  return {
    serverName: 'site.test',
    disableSystemRoot: true,
    certificates: [{ usage: 'verify', certificateFile: path }],
  };
}
