import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RedisStorage } from '../../src/http/limits/redis.storage.js';
import { eventually } from '../support/wait.js';

describe('limits in Redis', () => {
  const warnings: string[] = [];
  const storages: RedisStorage[] = [];
  let port: number;
  let redis: ChildProcess;

  beforeAll(async () => {
    port = await freePort();
    redis = startRedis(port);
  });

  afterAll(async () => {
    for (const storage of storages) storage.onApplicationShutdown();
    await end(redis);
  });

  const replica = (): RedisStorage => {
    const storage = new RedisStorage(`redis://127.0.0.1:${port}`, (message) => warnings.push(message));
    storages.push(storage);
    return storage;
  };

  it('are counted by all replicas together, and end with their window', async () => {
    const [one, two] = [replica(), replica()];
    // Both count in Redis once two hits on a new key see each other.
    let round = 0;
    await eventually(async () => {
      const key = `probe ${(round += 1)}`;
      await one.increment(key, 60_000, 10);
      return (await two.increment(key, 60_000, 10)).totalHits === 2;
    });
    expect(await one.increment('a', 500, 2)).toMatchObject({ totalHits: 1, isBlocked: false });
    expect(await two.increment('a', 500, 2)).toMatchObject({ totalHits: 2, isBlocked: false });
    expect(await one.increment('a', 500, 2)).toEqual({
      totalHits: 3,
      endsAt: expect.any(Number) as number,
      isBlocked: true,
      timeToExpire: 1,
      timeToBlockExpire: 1,
    });
    await eventually(async () => (await two.increment('a', 500, 2)).totalHits === 1, { intervalMs: 100 });
  });

  it('go on in each process alone while Redis is away, said once, and together again after', async () => {
    const [one, two] = [replica(), replica()];
    await eventually(async () => {
      await one.increment('warm', 60_000, 10);
      return (await two.increment('warm', 60_000, 10)).totalHits > 1;
    });
    warnings.length = 0;
    await end(redis);
    const began = performance.now();
    expect(await one.increment('b', 60_000, 1)).toMatchObject({ totalHits: 1, isBlocked: false });
    expect(await one.increment('b', 60_000, 1)).toMatchObject({ totalHits: 2, isBlocked: true });
    expect(await two.increment('b', 60_000, 1)).toMatchObject({ totalHits: 1, isBlocked: false });
    expect(performance.now() - began).toBeLessThan(2_000);
    expect(warnings.length).toBeLessThanOrEqual(storages.length);
    redis = startRedis(port);
    let round = 0;
    await eventually(async () => {
      const key = `again ${(round += 1)}`;
      await one.increment(key, 60_000, 10);
      return (await two.increment(key, 60_000, 10)).totalHits === 2;
    });
  });
});

function startRedis(port: number): ChildProcess {
  const argv = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'];
  return spawn('redis-server', argv, { stdio: 'ignore' });
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGKILL');
  await once(child, 'exit');
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as { port: number };
  probe.close();
  await once(probe, 'close');
  return port;
}
