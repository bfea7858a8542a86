import { type ChildProcess, spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RedisLoginAttempts } from '../../src/domain/auth/login-attempts.store.js';
import { LoginBackoff } from '../../src/domain/auth/login-backoff.js';
import { TestClock } from '../support/test-clock.js';
import { eventually } from '../support/wait.js';

const HOUR = { ms: 3_600_000, sliding: true };

describe('failed logins in Redis', () => {
  const clock = new TestClock(Date.now());
  const warnings: string[] = [];
  const stores: RedisLoginAttempts[] = [];
  let redis: ChildProcess;
  let port: number;

  beforeAll(async () => {
    port = await freePort();
    redis = startRedis(port);
  });
  afterAll(async () => {
    for (const store of stores) store.close();
    await end(redis);
  });

  /** One of several replicas, once it is connected. */
  async function replica(): Promise<RedisLoginAttempts> {
    const store = await eventually(async () => {
      const said: string[] = [];
      const candidate = new RedisLoginAttempts(`redis://127.0.0.1:${port}`, clock, (message) => {
        said.push(message);
        warnings.push(message);
      });
      await candidate.connect();
      await candidate.read('any');
      if (said.length === 0) return candidate;
      candidate.close();
      return null;
    });
    stores.push(store);
    return store;
  }

  it('count for all replicas, and are forgotten by all', async () => {
    const [one, two] = [await replica(), await replica()];
    expect(await one.read('pair')).toBeNull();
    expect(await one.fail('pair', HOUR)).toEqual({ failures: 1, lastAt: clock.nowMs() });
    expect(await two.fail('pair', HOUR)).toMatchObject({ failures: 2 });
    expect(await one.read('pair')).toEqual({ failures: 2, lastAt: clock.nowMs() });
    await two.forget('pair');
    expect(await one.read('pair')).toBeNull();
    expect(await one.isTrusted('pair')).toBe(false);
    await two.trust('pair', 60_000);
    expect(await one.isTrusted('pair')).toBe(true);
  });

  it('end with their time, counted from the first or from the last', async () => {
    const store = await replica();
    await store.fail('short', { ms: 100, sliding: false });
    await eventually(async () => (await store.read('short')) === null, { intervalMs: 10 });
    await store.fail('sliding', { ms: 60_000, sliding: true });
    await store.fail('sliding', { ms: 100, sliding: true });
    await eventually(async () => (await store.read('sliding')) === null, { intervalMs: 10 });
    await store.fail('fixed', { ms: 60_000, sliding: false });
    await store.fail('fixed', { ms: 1, sliding: false });
    expect(await store.read('fixed')).toMatchObject({ failures: 2 });
  });

  it('make every replica refuse', async () => {
    const [one, two] = [new LoginBackoff(await replica(), clock), new LoginBackoff(await replica(), clock)];
    for (let index = 0; index < 5; index += 1) {
      await [one, two][index % 2]!.attempt('admin', '192.0.2.1', async () => ({ outcome: 'wrong', value: null }));
    }
    for (const backoff of [one, two]) {
      const refused = backoff.attempt('admin', '192.0.2.1', async () => ({ outcome: 'right', value: null }));
      await expect(refused).rejects.toMatchObject({ code: 'login_limited', data: { retryAfterSeconds: 30 } });
    }
  });

  it('are counted by each process alone while Redis is away, which is said once, and together when it is back', async () => {
    const store = await replica();
    await end(redis);
    warnings.length = 0;
    for (let failures = 1; failures <= 5; failures += 1) {
      expect(await store.fail('outage', HOUR)).toMatchObject({ failures });
    }
    expect(await store.read('outage')).toMatchObject({ failures: 5 });
    await store.forget('outage');
    expect(await store.read('outage')).toBeNull();
    expect(warnings.filter((warning) => warning.includes('by this process alone')).length).toBeLessThanOrEqual(
      stores.length,
    );
    redis = startRedis(port);
    const other = await replica();
    await eventually(async () => {
      await store.fail('back', HOUR);
      return other.read('back');
    });
  });
});

function startRedis(port: number): ChildProcess {
  const options = { bind: '127.0.0.1', port: String(port), save: '', appendonly: 'no', daemonize: 'no', dir: '/' };
  const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, value]);
  return spawn('redis-server', args, { stdio: 'ignore' });
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once('close', resolve));
  child.kill('SIGKILL');
  await ended;
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}
