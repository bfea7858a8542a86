import { DataSource } from 'typeorm';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/platform/config/config.loader.js';
import { JobsService } from '../../src/platform/jobs/jobs.service.js';
import { asOwner, createDatabase, type TestDatabase } from '../support/database.js';
import { beginOutage } from '../support/outage.js';
import { silentLog } from '../support/silent-log.js';
import { eventually } from '../support/wait.js';

const OPTIONS = { pollingIntervalSeconds: 0.5, retryDelay: 0, retryBackoff: false };

describe('jobs', () => {
  let database: TestDatabase;
  const services: JobsService[] = [];
  const lines: string[] = [];
  beforeAll(async () => {
    database = await createDatabase({ empty: true });
  });
  afterAll(() => database.drop());
  beforeEach(() => lines.splice(0));
  afterEach(() => Promise.all(services.splice(0).map(stop)));

  function newService(role: 'all' | 'api' | 'worker' = 'all'): JobsService {
    const env = { DATABASE_URL: database.url, SECRET_KEY: 'k'.repeat(32), ROLE: role };
    const service = new JobsService(database.url, loadConfig(env), silentLog(lines));
    services.push(service);
    return service;
  }

  async function stop(service: JobsService): Promise<void> {
    await service.onModuleDestroy();
    await service.onApplicationShutdown();
  }

  async function retire(service: JobsService): Promise<void> {
    services.splice(services.indexOf(service), 1);
    await stop(service);
  }

  function stateOf(id: string): Promise<string | undefined> {
    return asOwner(database.name, async (client) => {
      const { rows } = await client.query<{ state: string }>('SELECT state FROM pgboss.job WHERE id = $1', [id]);
      return rows[0]?.state;
    });
  }

  it('run with their data, at once where they are sent', async () => {
    const jobs = newService();
    const done: unknown[] = [];
    jobs.define('run', async (data) => void done.push(data), { ...OPTIONS, pollingIntervalSeconds: 60 });
    await jobs.start();
    const id = await jobs.send('run', { text: 'ключ', list: [1, 2] });
    await eventually(() => done.length === 1, { timeoutMs: 5_000 });
    expect(done).toEqual([{ text: 'ключ', list: [1, 2] }]);
    await eventually(async () => (await stateOf(id!)) === 'completed');
  });

  it('are there when their transaction commits, and never otherwise', async () => {
    const jobs = newService();
    const done: unknown[] = [];
    jobs.define('transaction', async (data) => void done.push(data), OPTIONS);
    await jobs.start();
    const source = await new DataSource({ type: 'postgres', url: database.url }).initialize();
    try {
      const undone = source.transaction(async (manager) => {
        throw new Error(`sent: ${await jobs.send('transaction', { n: 1 }, { manager })}`);
      });
      await expect(undone).rejects.toThrow(/^sent: [0-9a-f-]{36}$/);
      await source.transaction(async (manager) => {
        await jobs.send('transaction', { n: 2 }, { manager });
      });
      jobs.wake('transaction');
    } finally {
      await source.destroy();
    }
    await eventually(() => done.length > 0);
    expect(done).toEqual([{ n: 2 }]);
  });

  it('are made once for a key, where the queue says so', async () => {
    const jobs = newService('api');
    jobs.define('keyed', async () => undefined, { ...OPTIONS, policy: 'short' });
    await jobs.start();
    const sent = await Promise.all(
      ['a', 'a', 'b', 'a'].map((singletonKey) => jobs.send('keyed', {}, { singletonKey })),
    );
    expect(sent.filter((id) => id !== null)).toHaveLength(2);
  });

  it('are tried again until they succeed, and given up at the limit', async () => {
    const jobs = newService();
    const runs: { retryCount: number; lastTry: boolean }[] = [];
    jobs.define(
      'retry',
      async (_data, { retryCount, lastTry }) => {
        runs.push({ retryCount, lastTry });
        if (runs.length < 2) throw new Error('not yet');
      },
      { ...OPTIONS, retryLimit: 3 },
    );
    jobs.define('doomed', () => Promise.reject(new Error('never')), { ...OPTIONS, retryLimit: 1 });
    await jobs.start();
    const good = await jobs.send('retry', {});
    const bad = await jobs.send('doomed', {});
    await eventually(async () => (await stateOf(good!)) === 'completed');
    expect(runs).toEqual([
      { retryCount: 0, lastTry: false },
      { retryCount: 1, lastTry: false },
    ]);
    await eventually(async () => (await stateOf(bad!)) === 'failed');
  });

  it('that hang are ended after their time', async () => {
    const jobs = newService();
    let aborted = false;
    jobs.define(
      'hang',
      (_data, { signal }) =>
        new Promise(() => {
          signal.addEventListener('abort', () => (aborted = true));
        }),
      { ...OPTIONS, retryLimit: 0, expireInSeconds: 1 },
    );
    await jobs.start();
    const id = await jobs.send('hang', {});
    await eventually(async () => (await stateOf(id!)) === 'failed');
    expect(aborted).toBe(true);
  });

  it('are sent by every role and done by workers alone', async () => {
    const [api, worker] = [newService('api'), newService('worker')];
    const done: string[] = [];
    api.define('roles', async () => void done.push('api'), OPTIONS);
    worker.define('roles', async () => void done.push('worker'), OPTIONS);
    await Promise.all([api.start(), worker.start()]);
    for (let n = 0; n < 5; n += 1) await api.send('roles', { n });
    await eventually(() => done.length === 5);
    expect(new Set(done)).toEqual(new Set(['worker']));
  });

  it('are each done once by many workers that start at once on an empty database', async () => {
    const empty = await createDatabase({ empty: true });
    const env = { DATABASE_URL: empty.url, SECRET_KEY: 'k'.repeat(32) };
    const workers = Array.from({ length: 4 }, () => new JobsService(empty.url, loadConfig(env), silentLog(lines)));
    try {
      const done: number[] = [];
      for (const [index, worker] of workers.entries()) {
        // Each in another order: what makes tables must not depend on it.
        const names = ['a', 'b', 'c', 'd'].map((_, place, all) => all[(place + index) % all.length]!);
        for (const name of names) {
          worker.define<{ n: number }>(name, async ({ n }) => void done.push(n), { ...OPTIONS, concurrency: 2 });
        }
      }
      await Promise.all(workers.map((worker) => worker.start()));
      await Promise.all(Array.from({ length: 40 }, (_, n) => workers[n % 4]!.send('abcd'[n % 4]!, { n })));
      await eventually(() => done.length === 40);
      expect(done.sort((a, b) => a - b)).toEqual(Array.from({ length: 40 }, (_, n) => n));
    } finally {
      await Promise.all(workers.map(stop));
      await empty.drop();
    }
  });

  it('survive an outage of the database, the running one and those that wait', async () => {
    const jobs = newService();
    const done: number[] = [];
    let outage: { end(): Promise<void> } | null = null;
    jobs.define<{ n: number }>(
      'outage',
      async ({ n }) => {
        if (n === 1) outage = await beginOutage(database);
        done.push(n);
      },
      OPTIONS,
    );
    await jobs.start();
    // The one that waits first: the other begins the outage as soon as it runs.
    await jobs.send('outage', { n: 2 }, { startAfter: 2 });
    const first = await jobs.send('outage', { n: 1 });
    await eventually(() => done.length === 1);
    await eventually(() => lines.some((line) => line.includes('jobs cannot reach the database')));
    await expect(jobs.send('outage', { n: 9 })).rejects.toThrow();
    await outage!.end();
    await eventually(() => done.includes(2));
    await eventually(async () => (await stateOf(first!)) === 'completed');
    expect(done).toEqual([1, 2]);
  });

  it('that run are waited for on stop, and no other is begun', async () => {
    const jobs = newService();
    const events: string[] = [];
    let finish = () => undefined as void;
    jobs.define(
      'stop',
      async () => {
        events.push('began');
        await new Promise<void>((done) => (finish = done));
        events.push('ended');
      },
      OPTIONS,
    );
    await jobs.start();
    const first = await jobs.send('stop', {});
    const second = await jobs.send('stop', {});
    await eventually(() => events.length === 1);
    const stopped = retire(jobs).then(() => events.push('stopped'));
    finish();
    await stopped;
    expect(events).toEqual(['began', 'ended', 'stopped']);
    expect(await stateOf(first!)).toBe('completed');
    expect(await stateOf(second!)).toBe('created');
  });

  it('need a queue that was defined', async () => {
    const jobs = newService();
    jobs.define('known', async () => undefined);
    await jobs.start();
    await expect(jobs.send('unknown', {})).rejects.toThrow('No job queue');
    expect(() => jobs.define('late', async () => undefined)).toThrow('after the start');
  });
});
