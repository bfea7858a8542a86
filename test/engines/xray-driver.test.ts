import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  ProxyRefusedError,
  ProxyUnavailableError,
  type ProxyUserSpec,
} from '../../src/domain/xray/proxy-engine.port.js';
import { mustRun } from '../support/command.js';
import {
  clientOf,
  downloads,
  inbound,
  isXray,
  newDriver,
  pid,
  publicAddress,
  rig,
  spec,
  usageOf,
  user,
  useProxyEngine,
} from '../support/proxy-engine.js';
import { eventually } from '../support/wait.js';

useProxyEngine();

describe('capability', () => {
  it('names the engine, its version and what it can do', async () => {
    const capability = await rig.driver.capability();
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

describe('users', () => {
  it('come and go without a restart; connections that stand go on', async () => {
    const [ann, ben] = [user('ann'), user('ben')];
    await rig.driver.ensureEngine(spec([ann]));
    const before = await pid();
    const client = await clientOf(ben, inbound([]));
    expect(await downloads(client)).toBe(0);

    await rig.driver.addUsers('main', [ben]);
    expect(await downloads(client)).toBe(1_000);
    const standing = await client.connect(publicAddress, rig.filesPort);
    standing.write('GET /10 HTTP/1.1\r\nHost: test\r\n\r\n');
    await once(standing, 'data');

    await rig.driver.removeUsers('main', ['ben', 'nobody']);
    expect(await downloads(client)).toBe(0);
    standing.write('GET /10 HTTP/1.1\r\nHost: test\r\n\r\n');
    await once(standing, 'data');
    standing.destroy();
    expect(await pid()).toBe(before);
    expect((await usageOf('ben'))!.downBytes).toBeGreaterThan(1_000);
  });

  it('get new credentials at once, by addUsers and by ensureEngine', async () => {
    const old = user('ann');
    await rig.driver.ensureEngine(spec([old]));
    const oldClient = await clientOf(old, inbound([]));
    expect(await downloads(oldClient)).toBe(1_000);
    const fresh = user('ann');
    await rig.driver.addUsers('main', [fresh]);
    await rig.driver.addUsers('main', [fresh]);
    const freshClient = await clientOf(fresh, inbound([]));
    expect(await downloads(freshClient)).toBe(1_000);
    expect(await downloads(oldClient)).toBe(0);
    expect(await rig.driver.ensureEngine(spec([old]))).toEqual({ restarted: false });
    expect(await downloads(oldClient)).toBe(1_000);
    expect(await downloads(freshClient)).toBe(0);
  });

  it('may swap their UUIDs', async () => {
    const [one, two] = [randomUUID(), randomUUID()];
    await rig.driver.ensureEngine(spec([user('ann', { uuid: one }), user('ben', { uuid: two })]));
    const [ann, ben] = [user('ann', { uuid: two }), user('ben', { uuid: one })];
    expect(await rig.driver.ensureEngine(spec([ann, ben]))).toEqual({ restarted: false });
    expect(await downloads(await clientOf(ann, inbound([])))).toBe(1_000);
    expect(await downloads(await clientOf(ben, inbound([])))).toBe(1_000);
  });

  it('that do not fit are refused before anything reaches the engine', async () => {
    const ann = user('ann');
    await rig.driver.ensureEngine(spec([ann], { protocol: 'vmess' }));
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
      await expect(rig.driver.addUsers(tag, users), JSON.stringify(users)).rejects.toThrow(ProxyRefusedError);
    }
    await expect(rig.driver.removeUsers('main', ['a\nb'])).rejects.toThrow(ProxyRefusedError);
    expect(await pid()).toBe(before);
    expect(await downloads(await clientOf(ann, inbound([], { protocol: 'vmess' })))).toBe(1_000);
  });

  it('come by the thousand in one go', async () => {
    const users = Array.from({ length: 2_000 }, (_, index) => user(`u${index}`));
    await rig.driver.ensureEngine(spec([]));
    expect(await rig.driver.ensureEngine(spec(users))).toEqual({ restarted: false });
    expect(await downloads(await clientOf(users[1_999]!, inbound([])))).toBe(1_000);
    expect(await rig.driver.ensureEngine(spec(users.slice(0, 1)))).toEqual({ restarted: false });
    expect(await downloads(await clientOf(users[1]!, inbound([])))).toBe(0);
  });
});

describe('life', () => {
  it('goes on without us, and is adopted again with its users and counters', async () => {
    const [ann, ben, cat] = [user('ann'), user('ben'), user('cat')];
    await rig.driver.ensureEngine(spec([ann, ben]));
    const before = await pid();
    const client = await clientOf(ann, inbound([]));
    const standing = await client.connect(publicAddress, rig.filesPort);
    // Not in the file yet when the next one finds the engine: only the journal tells of it.
    await rig.driver.addUsers('main', [cat]);
    expect(readFileSync(join(rig.dataDir, 'xray', 'config.json'), 'utf8')).not.toContain('"cat"');
    const { epoch } = await rig.driver.readUsage();

    rig.driver = newDriver();
    expect(await rig.driver.status()).toMatchObject({ state: 'running', pid: before });
    expect(await rig.driver.ensureEngine(spec([ann]))).toEqual({ restarted: false });
    expect((await rig.driver.readUsage()).epoch).toBe(epoch);
    standing.write('GET /10 HTTP/1.1\r\nHost: test\r\n\r\n');
    await once(standing, 'data');
    standing.destroy();
    expect(await downloads(client)).toBe(1_000);
    expect(await downloads(await clientOf(ben, inbound([])))).toBe(0);
    expect(await downloads(await clientOf(cat, inbound([])))).toBe(0);
  });

  it('is found by its mark when the pid was never written down', async () => {
    await rig.driver.ensureEngine(spec([]));
    const before = await pid();
    const path = join(rig.dataDir, 'xray', 'engine.json');
    const {
      pid: _pid,
      startTime: _startTime,
      ...intent
    } = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
    writeFileSync(path, JSON.stringify(intent));
    rig.driver = newDriver();
    expect(await rig.driver.ensureEngine(spec([]))).toEqual({ restarted: false });
    expect(await pid()).toBe(before);
  });

  it('begins again with all users after a kill; counters have another epoch', async () => {
    const ann = user('ann');
    await rig.driver.ensureEngine(spec([]));
    await rig.driver.addUsers('main', [ann]);
    const { epoch } = await rig.driver.readUsage();
    process.kill(await pid(), 'SIGKILL');
    await eventually(async () => (await rig.driver.status()).state === 'stopped', { intervalMs: 5 });
    await expect(rig.driver.readUsage()).rejects.toThrow(ProxyUnavailableError);
    await expect(rig.driver.addUsers('main', [user('ben')])).rejects.toThrow(ProxyUnavailableError);
    expect(existsSync(join(rig.dataDir, 'xray', 'api.sock'))).toBe(true);
    expect(await rig.driver.ensureEngine(spec([ann]))).toEqual({ restarted: true });
    expect(await downloads(await clientOf(ann, inbound([])))).toBe(1_000);
    expect((await rig.driver.readUsage()).epoch).not.toBe(epoch);
  });

  it('is ended by force when it hangs for long, and unavailable until then', async () => {
    const ann = user('ann');
    await rig.driver.ensureEngine(spec([ann]));
    const before = await pid();
    process.kill(before, 'SIGSTOP');
    try {
      expect((await rig.driver.status()).state).toBe('hung');
      await expect(rig.driver.ensureEngine(spec([ann]))).rejects.toThrow(ProxyUnavailableError);
      await eventually(() => rig.driver.ensureEngine(spec([ann])), { timeoutMs: 30_000 });
    } finally {
      killQuietly(before);
    }
    expect(await pid()).not.toBe(before);
    expect(await downloads(await clientOf(ann, inbound([])))).toBe(1_000);
  });

  it('goes on when an engine that hung comes back', async () => {
    await rig.driver.ensureEngine(spec([]));
    const before = await pid();
    process.kill(before, 'SIGSTOP');
    await expect(rig.driver.addUsers('main', [user('ann')])).rejects.toThrow(ProxyUnavailableError);
    process.kill(before, 'SIGCONT');
    // What became of ann is not known: a spec without her must take her away.
    await eventually(() => rig.driver.ensureEngine(spec([])));
    expect(await pid()).toBe(before);
    expect(await rig.driver.readUsage()).toMatchObject({ users: [] });
  });

  it('starts whatever lies where its socket goes', async () => {
    mkdirSync(join(rig.dataDir, 'xray', 'api.sock', 'x'), { recursive: true });
    await rig.driver.ensureEngine(spec([]));
    expect((await rig.driver.status()).state).toBe('running');
  });

  it('is restarted when asked to, and stopped', async () => {
    const ann = user('ann');
    await rig.driver.restart(spec([ann]));
    const before = await pid();
    await rig.driver.restart(spec([ann]));
    expect(await pid()).not.toBe(before);
    await rig.driver.stop();
    await rig.driver.stop();
    expect(await rig.driver.status()).toMatchObject({ state: 'stopped', pid: null, uptimeSeconds: null });
  });

  it('stays one when many ask at once', async () => {
    const users = Array.from({ length: 10 }, (_, index) => user(`u${index}`));
    await Promise.all(users.map(() => rig.driver.ensureEngine(spec([]))));
    const before = await pid();
    await Promise.all(users.map((each) => rig.driver.addUsers('main', [each])));
    expect(await pid()).toBe(before);
    const found = await mustRun(['pgrep', '-f', join(rig.dataDir, 'xray', 'config.json')]);
    expect(found.trim().split('\n')).toEqual([String(before)]);
  });
});

describe('a config', () => {
  it('that the engine refuses changes nothing', async () => {
    const ann = user('ann');
    await rig.driver.ensureEngine(spec([ann]));
    const before = await pid();
    const broken = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----';
    const refused = spec([ann], { security: 'tls', certificate: { certificatePem: broken, keyPem: broken } });
    await expect(rig.driver.ensureEngine(refused)).rejects.toThrow(ProxyRefusedError);
    expect(await pid()).toBe(before);
    expect(await rig.driver.ensureEngine(spec([ann]))).toEqual({ restarted: false });
    expect(await downloads(await clientOf(ann, inbound([])))).toBe(1_000);
  });

  it('with a port that is taken cuts nobody off', async () => {
    const ann = user('ann');
    const taken = createServer().listen(0);
    await once(taken, 'listening');
    const other = (taken.address() as { port: number }).port;
    try {
      await expect(rig.driver.ensureEngine(spec([ann], { port: other }))).rejects.toThrow(
        `The port ${other} is in use`,
      );
      expect((await rig.driver.status()).state).toBe('stopped');
      await rig.driver.ensureEngine(spec([ann]));
      const before = await pid();
      await expect(rig.driver.ensureEngine(spec([ann], { port: other }))).rejects.toThrow(
        `The port ${other} is in use`,
      );
      expect(await pid()).toBe(before);
    } finally {
      taken.close();
    }
  });

  it('that does not start gives way to the last good one, without users who may not connect any more', async () => {
    const [ann, ben] = [user('ann'), user('ben')];
    await rig.driver.ensureEngine(spec([ann, ben]));
    // No address of this host: the engine's own check passes, its start fails.
    const wrong = spec([ann], { listen: '203.0.113.77' });
    await expect(rig.driver.ensureEngine(wrong)).rejects.toThrow(ProxyRefusedError);
    expect((await rig.driver.status()).state).toBe('running');
    expect(await downloads(await clientOf(ann, inbound([])))).toBe(1_000);
    expect(await downloads(await clientOf(ben, inbound([])))).toBe(0);
    expect(await rig.driver.ensureEngine(spec([ann, ben]))).toEqual({ restarted: false });
    expect(await downloads(await clientOf(ben, inbound([])))).toBe(1_000);
  });

  it('that was spoilt by hand is written anew, and the engine goes on', async () => {
    const ann = user('ann');
    const path = join(rig.dataDir, 'xray', 'config.json');
    await rig.driver.ensureEngine(spec([ann]));
    const before = await pid();
    const good = readFileSync(path, 'utf8');
    writeFileSync(path, '{ "inbounds": [');
    expect(await rig.driver.ensureEngine(spec([ann]))).toEqual({ restarted: false });
    expect(readFileSync(path, 'utf8')).toBe(good);
    writeFileSync(path, '');
    rig.driver = newDriver();
    expect(await rig.driver.ensureEngine(spec([ann]))).toEqual({ restarted: false });
    expect(readFileSync(path, 'utf8')).toBe(good);
    expect(await pid()).toBe(before);
  });

  it('follows the users soon after a change', async () => {
    await rig.driver.ensureEngine(spec([]));
    await rig.driver.addUsers('main', [user('ann')]);
    const path = join(rig.dataDir, 'xray', 'config.json');
    await eventually(() => readFileSync(path, 'utf8').includes('"ann"'));
    await eventually(() => !existsSync(join(rig.dataDir, 'xray', 'changes.log')));
  });

  it('goes without an access log where none can be written', async () => {
    const ann = user('ann');
    writeFileSync(join(rig.dataDir, 'log'), 'in the way');
    await rig.driver.ensureEngine(spec([ann]));
    const before = await pid();
    expect(await rig.driver.ensureEngine(spec([ann]))).toEqual({ restarted: false });
    rmSync(join(rig.dataDir, 'log'));
    expect(await rig.driver.ensureEngine(spec([ann]))).toEqual({ restarted: true });
    expect(await pid()).not.toBe(before);
    await downloads(await clientOf(ann, inbound([])));
    expect(readFileSync(join(rig.dataDir, 'log', 'access.log'), 'utf8')).toContain('email: ann');
  });

  it('is shown without secrets', async () => {
    const ann = user('ann');
    expect(await rig.driver.readConfig()).toBeNull();
    await rig.driver.ensureEngine(spec([ann]));
    const shown = JSON.stringify(await rig.driver.readConfig());
    expect(shown).toContain('"email":"ann"');
    expect(shown).not.toContain(ann.uuid);
  });
});

function killQuietly(target: number): void {
  try {
    process.kill(target, 'SIGKILL');
  } catch {
    // It is gone, as it should be.
  }
}
