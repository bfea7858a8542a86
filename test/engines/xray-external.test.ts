import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ProxyRefusedError, ProxyUnavailableError } from '../../src/domain/xray/proxy-engine.port.js';
import type { XrayDriver } from '../../src/drivers/xray/xray.driver.js';
import { freePort } from '../support/proxy-client.js';
import {
  clientOf,
  downloads,
  inbound,
  isXray,
  newDriver,
  program,
  rig,
  spec,
  user,
  useProxyEngine,
} from '../support/proxy-engine.js';
import { eventually } from '../support/wait.js';

useProxyEngine();

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
        {
          tag: 'main',
          listen: '127.0.0.1',
          port: rig.port,
          protocol: 'vless',
          settings: { clients: [], decryption: 'none' },
        },
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
    const path = join(rig.dataDir, 'stranger.json');
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

  it('gets and loses users of ours, unless it cannot say what its inbounds are', async () => {
    const [ann, ben] = [user('ann'), user('ben')];
    if (!isXray) {
      await expect(external.ensureEngine(spec([ann]))).rejects.toThrow('cannot say which protocol');
      expect((await external.status()).state).toBe('running');
      return;
    }
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
});
