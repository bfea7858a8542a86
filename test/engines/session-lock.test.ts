import { once } from 'node:events';
import { Pool } from 'pg';
import { DataSource } from 'typeorm';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { withLock } from '../../src/platform/locks/advisory-lock.js';
import { SessionLock } from '../../src/platform/locks/session-lock.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { backendsOf, beginOutage } from '../support/outage.js';
import { silentLog } from '../support/silent-log.js';
import { eventually } from '../support/wait.js';

let database: TestDatabase;
beforeAll(async () => {
  database = await createDatabase({ empty: true });
});
afterAll(() => database.drop());

describe('a session lock', () => {
  const locks: SessionLock[] = [];
  afterEach(() => Promise.all(locks.splice(0).map((lock) => lock.release())));

  function newLock(): { lock: SessionLock; heard: string[] } {
    const lock = new SessionLock(database.url, silentLog());
    const heard: string[] = [];
    lock.on('acquired', () => heard.push('acquired'));
    lock.on('lost', () => heard.push('lost'));
    locks.push(lock);
    return { lock, heard };
  }

  it('is held by one of two, and by the other once it is released', async () => {
    const [one, two] = [newLock(), newLock()];
    await one.lock.acquire('engine/a');
    await two.lock.acquire('engine/a');
    expect([one.lock.held, two.lock.held]).toEqual([true, false]);
    const taken = once(two.lock, 'acquired');
    await one.lock.release();
    await taken;
    expect([one.lock.held, two.lock.held]).toEqual([false, true]);
    expect(one.heard).toEqual(['acquired']);
    expect(two.heard).toEqual(['acquired']);
  });

  it('leaves locks of other names alone', async () => {
    const [one, two] = [newLock(), newLock()];
    await Promise.all([one.lock.acquire('engine/a'), two.lock.acquire('engine/b')]);
    expect([one.lock.held, two.lock.held]).toEqual([true, true]);
  });

  it('is lost when the server ends the session, and taken again', async () => {
    const { lock, heard } = newLock();
    await lock.acquire('engine/a');
    const outage = await beginOutage(database);
    await eventually(() => heard.includes('lost'));
    expect(lock.held).toBe(false);
    await outage.end();
    await eventually(() => lock.held);
    expect(heard).toEqual(['acquired', 'lost', 'acquired']);
  });

  it('is lost within seconds when the server stops answering, before anyone else can have it', async () => {
    const { lock, heard } = newLock();
    await lock.acquire('engine/frozen');
    const [pid] = await backendsOf(database, 'lock engine/frozen');
    process.kill(pid!, 'SIGSTOP');
    try {
      await eventually(() => heard.includes('lost'), { timeoutMs: 8_000 });
      expect(lock.held).toBe(false);
    } finally {
      process.kill(pid!, 'SIGCONT');
    }
    await eventually(() => lock.held);
  });

  it('survives a pause of its own process', async () => {
    const { lock, heard } = newLock();
    await lock.acquire('engine/a');
    const [pid] = await backendsOf(database, 'lock engine/a');
    // Long enough for a heartbeat to be due and, in the next pause, for its time limit to pass.
    for (let pause = 0; pause < 2; pause += 1) {
      const until = Date.now() + 3_500;
      while (Date.now() < until);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await eventually(async () => (await backendsOf(database, 'lock engine/a')).includes(pid!));
    expect(heard).toEqual(['acquired']);
  });

  it('waits for a database that is not there yet', async () => {
    const outage = await beginOutage(database);
    const { lock, heard } = newLock();
    await lock.acquire('engine/a');
    expect(lock.held).toBe(false);
    await outage.end();
    await eventually(() => lock.held);
    expect(heard).toEqual(['acquired']);
  });

  it('ends its session on release, also while it is only waiting, and can be used again', async () => {
    const [one, two] = [newLock(), newLock()];
    await one.lock.acquire('engine/a');
    await two.lock.acquire('engine/a');
    await two.lock.release();
    await one.lock.release();
    await eventually(async () => (await backendsOf(database, 'lock engine/a')).length === 0);
    await two.lock.acquire('engine/a');
    expect(two.lock.held).toBe(true);
  });
});

describe('work under a lock', () => {
  const sources: Record<string, () => Promise<{ source: Pool | DataSource; close: () => Promise<void> }>> = {
    pool: async () => {
      const pool = new Pool({ connectionString: database.url });
      pool.on('error', () => undefined);
      return { source: pool, close: () => pool.end() };
    },
    'data source': async () => {
      const source = await new DataSource({
        type: 'postgres',
        url: database.url,
        poolErrorHandler: () => undefined,
      }).initialize();
      return { source, close: () => source.destroy() };
    },
  };

  for (const [kind, open] of Object.entries(sources)) {
    it(`is done by one of many at a time (${kind})`, async () => {
      const { source, close } = await open();
      try {
        let begun = false;
        let finish = () => undefined as void;
        const first = withLock(source, 'work/a', () => {
          begun = true;
          return new Promise<string>((done) => (finish = () => done('first')));
        });
        await eventually(() => begun);
        expect(await withLock(source, 'work/a', async () => 'early')).toEqual({ ran: false });
        expect(await withLock(source, 'work/b', async () => 'other')).toEqual({ ran: true, value: 'other' });
        finish();
        expect(await first).toEqual({ ran: true, value: 'first' });
        expect(await withLock(source, 'work/a', async () => 'next')).toEqual({ ran: true, value: 'next' });
      } finally {
        await close();
      }
    });

    it(`gives the lock back when it fails (${kind})`, async () => {
      const { source, close } = await open();
      try {
        await expect(withLock(source, 'work/a', () => Promise.reject(new Error('broken')))).rejects.toThrow('broken');
        expect(await withLock(source, 'work/a', async () => 'next')).toEqual({ ran: true, value: 'next' });
      } finally {
        await close();
      }
    });

    it(`ends well when the connection drops meanwhile (${kind})`, async () => {
      const { source, close } = await open();
      try {
        const done = withLock(source, 'work/a', async () => {
          await (await beginOutage(database)).end();
          return 'done';
        });
        expect(await done).toEqual({ ran: true, value: 'done' });
        expect(await withLock(source, 'work/a', async () => 'next')).toEqual({ ran: true, value: 'next' });
      } finally {
        await close();
      }
    });
  }
});
