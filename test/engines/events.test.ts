import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { requestContext } from '../../src/platform/context/request-context.js';
import { type AccountsProcess, startAccounts } from '../support/accounts.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { TestClock } from '../support/test-clock.js';

const event = { type: 'CLIENT', service: 'wireguard', action: 'client_created', message: 'Client a was created' };

describe('the event log', () => {
  let database: TestDatabase;
  let here: AccountsProcess;

  beforeAll(async () => {
    database = await createDatabase();
    here = await startAccounts(database.url);
  });
  afterAll(async () => {
    await here?.close();
    await database?.drop();
  });
  beforeEach(() => here.source.query('TRUNCATE events'));

  const list = (query = {}) => here.events.list({ limit: 100, offset: 0, ...query });

  it('says who did what from where, and leaves secrets out', async () => {
    const context = { actor: 'unknown', ip: '192.0.2.1', requestId: 'r1' };
    await requestContext.run(context, async () => {
      requestContext.current()!.actor = 'token:bot';
      await here.events.record({ ...event, target: 'a\nb', details: { private_key: 'x', note: 'a\0\ud800' } });
    });
    await here.events.record(event);
    const { items, total } = await list();
    expect(total).toBe(2);
    expect(items[0]).toMatchObject({ actor: 'system', ip: null, target: null, severity: 'INFO', details: {} });
    expect(items[1]).toMatchObject({
      ...event,
      actor: 'token:bot',
      ip: '192.0.2.1',
      target: 'a\\nb',
      details: { private_key: '********', note: 'a\\u0000\\ud800' },
    });
  });

  it('is written with the change that it tells of, or not at all', async () => {
    await expect(
      here.source.transaction(async (tx) => {
        await here.events.record(event, tx);
        throw new Error('no');
      }),
    ).rejects.toThrow('no');
    expect((await list()).total).toBe(0);
    await here.source.transaction((tx) => here.events.record(event, tx));
    expect((await list()).total).toBe(1);
  });

  it('is read in pages, newest first, by type, severity and time', async () => {
    for (let index = 0; index < 5; index += 1) await here.events.record({ ...event, target: String(index) });
    await here.events.record({ ...event, type: 'AUTH', severity: 'WARN' });
    const page = await list({ type: 'CLIENT', limit: 2, offset: 1 });
    expect(page.total).toBe(5);
    expect(page.items.map((item) => item.target)).toEqual(['3', '2']);
    expect((await list({ severity: 'WARN' })).total).toBe(1);
    const newest = (await list()).items[0]!.at;
    expect((await list({ since: new Date(newest.getTime() + 1000) })).total).toBe(0);
    expect((await list({ until: new Date(newest.getTime() + 1000) })).total).toBe(6);
  });

  it('cuts what is too long instead of refusing the change', async () => {
    await here.events.record({ ...event, target: 'x'.repeat(999), message: 'y'.repeat(9999) });
    const [item] = (await list()).items;
    expect(item!.target).toHaveLength(255);
    expect(item!.message).toHaveLength(2000);
  });

  it('has its months made ahead, keeps what came before they were, and drops months after 400 days', async () => {
    const months = async () => {
      const rows = await here.source.query<{ name: string }[]>(
        `SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'events'::regclass ORDER BY 1`,
      );
      return rows.map((row) => row.name);
    };
    const insert = (at: string) =>
      here.source.query(
        `INSERT INTO events (at, type, service, action, message, target) VALUES ($1::text::timestamptz, 'CLIENT', 'x', 'y', 'z', $1::text)`,
        [at],
      );
    const clock = new TestClock(Date.UTC(2031, 0, 15));
    const there = await startAccounts(database.url, { clock });
    try {
      for (const at of ['2029-12-01T00:00:00Z', '2030-11-30T23:59:59Z', '2031-01-10T00:00:00Z']) await insert(at);
      // Two replicas at once: one does it.
      await Promise.all([there.events.purge(), there.events.purge()]);
      expect(await months()).toEqual([
        'events_2030_11',
        'events_2031_01',
        'events_2031_02',
        'events_2031_03',
        'events_default',
      ]);
      expect((await list()).items.map((item) => item.target)).toEqual(['2031-01-10T00:00:00Z', '2030-11-30T23:59:59Z']);
      await there.events.purge();
      await insert('2031-02-01T00:00:00Z');
      clock.advance(360 * 86_400_000);
      await there.events.purge();
      expect(await months()).toEqual([
        'events_2031_01',
        'events_2031_02',
        'events_2031_03',
        'events_2032_01',
        'events_2032_02',
        'events_2032_03',
        'events_default',
      ]);
      expect((await list()).total).toBe(2);
      const [left] = await here.source.query<{ count: string }[]>('SELECT count(*) FROM events_default');
      expect(left!.count).toBe('0');
      await here.events.record(event);
      expect((await list()).total).toBe(3);
    } finally {
      await there.close();
    }
  });
});
