import { randomUUID } from 'node:crypto';
import { DataSource } from 'typeorm';
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { dataSourceOptions } from '../../src/database/data-source.js';
import { UsageRetentionService } from '../../src/domain/usage/usage-retention.service.js';
import { UsageScheduler } from '../../src/domain/usage/usage.scheduler.js';
import { type UsageReading, UsageService } from '../../src/domain/usage/usage.service.js';
import { Clock } from '../../src/platform/clock/clock.js';
import type { Config } from '../../src/platform/config/config.js';
import type { AppLogger } from '../../src/platform/logging/app-logger.js';
import { createDatabase, type TestDatabase } from '../support/database.js';

const NOON = new Date('2026-03-10T12:00:20Z');
const TABLES = ['usage_minutes', 'usage_five_minutes', 'usage_hours', 'usage_days'] as const;

let database: TestDatabase;
let source: DataSource;
let usage: UsageService;
let retention: UsageRetentionService;

beforeAll(async () => {
  database = await createDatabase();
  source = await new DataSource(dataSourceOptions(database.url)).initialize();
  usage = new UsageService(source);
  retention = new UsageRetentionService(source);
});

afterAll(async () => {
  await source?.destroy();
  await database?.drop();
});

beforeEach(async () => {
  const days = await retention.partitions();
  for (const [table, list] of Object.entries(days)) {
    for (const day of list) {
      await source.query(`DROP TABLE ${table}_${day.toISOString().slice(0, 10).replaceAll('-', '')}`);
    }
  }
  await source.query(`TRUNCATE usage_counters, ${TABLES.join(', ')}`);
});

function reading(subjectId: string, rx: number, tx: number, latestHandshake = 0): UsageReading {
  return { subjectId, rx, tx, latestHandshake };
}

async function totalOf(subjectId: string): Promise<[bigint, bigint] | null> {
  const found = (await usage.totalsOf([subjectId])).get(subjectId);
  return found ? [found.rx, found.tx] : null;
}

/** rx and tx in one sample table, the whole kind's own rows left out. */
async function sampled(table: string, condition = 'true'): Promise<[number, number]> {
  const [row] = await source.query<[{ rx: string; tx: string }]>(
    `SELECT coalesce(sum(rx), 0) AS rx, coalesce(sum(tx), 0) AS tx FROM ${table}
     WHERE subject_id::text NOT LIKE '00000000-%' AND ${condition}`,
  );
  return [Number(row.rx), Number(row.tx)];
}

async function partitionNames(table: string): Promise<string[]> {
  const days = await retention.partitions();
  return days[table as keyof typeof days].map((day) => day.toISOString().slice(0, 10)).sort();
}

test('a counter that grows adds its growth', async () => {
  const id = randomUUID();
  expect(await usage.book('wireguard', 1, [reading(id, 100, 1_000)])).toBe(1);
  expect(await usage.book('wireguard', 1, [reading(id, 150, 1_800)])).toBe(1);
  expect(await totalOf(id)).toEqual([150n, 1_800n]);
});

test('the same reading twice counts once and leaves the row untouched', async () => {
  const id = randomUUID();
  await usage.book('wireguard', 1, [reading(id, 100, 1_000, 1_773_000_000)]);
  const version = () => source.query(`SELECT ctid, xmin FROM usage_counters WHERE subject_id = $1`, [id]);
  const before = await version();
  expect(await usage.book('wireguard', 1, [reading(id, 100, 1_000, 1_773_000_000)])).toBe(0);
  expect(await version()).toEqual(before);
  expect(await totalOf(id)).toEqual([100n, 1_000n]);
});

test('a subject that is named twice in one reading counts once', async () => {
  const id = randomUUID();
  await usage.book('wireguard', 1, [reading(id, 100, 1_000), reading(id, 100, 1_000)]);
  expect(await totalOf(id)).toEqual([100n, 1_000n]);
});

test('when one value went down both count from zero', async () => {
  const id = randomUUID();
  await usage.book('wireguard', 1, [reading(id, 1_000, 10)]);
  await usage.book('wireguard', 1, [reading(id, 5, 30)]);
  expect(await totalOf(id)).toEqual([1_005n, 40n]);
  await usage.book('wireguard', 1, [reading(id, 6, 30)]);
  expect(await totalOf(id)).toEqual([1_006n, 40n]);
});

test('in a new epoch a higher value counts from zero', async () => {
  const id = randomUUID();
  await usage.book('wireguard', 1, [reading(id, 100, 100)]);
  await usage.book('wireguard', 2, [reading(id, 300, 100)]);
  expect(await totalOf(id)).toEqual([400n, 200n]);
  expect(await usage.book('wireguard', 2, [reading(id, 300, 100)])).toBe(0);
});

test('a forgotten subject that comes back with a higher value counts from zero', async () => {
  const [id, other] = [randomUUID(), randomUUID()];
  await usage.book('wireguard', 1, [reading(id, 100, 100), reading(other, 7, 7)]);
  await source.transaction(async (manager) => {
    await usage.book('wireguard', 1, [reading(id, 120, 100)], manager);
    await usage.forget([id], manager);
  });
  await usage.book('wireguard', 1, [reading(id, 500, 100), reading(other, 8, 7)]);
  expect(await totalOf(id)).toEqual([620n, 200n]);
  expect(await totalOf(other)).toEqual([8n, 7n]);
});

test('bookings of a transaction that is rolled back count nothing', async () => {
  const id = randomUUID();
  await usage.book('wireguard', 1, [reading(id, 100, 100)]);
  await expect(
    source.transaction(async (manager) => {
      await usage.book('wireguard', 1, [reading(id, 900, 900)], manager);
      await usage.forget([id], manager);
      throw new Error('cut short');
    }),
  ).rejects.toThrow('cut short');
  await usage.book('wireguard', 1, [reading(id, 200, 200)]);
  expect(await totalOf(id)).toEqual([200n, 200n]);
});

test('a handshake is kept when the engine lost it, and follows it otherwise', async () => {
  const id = randomUUID();
  const seen = async () => (await usage.totalsOf([id])).get(id)?.lastHandshakeAt?.toISOString();
  await usage.book('wireguard', 1, [reading(id, 0, 0)]);
  expect(await seen()).toBeUndefined();
  await usage.book('wireguard', 1, [reading(id, 0, 0, 1_773_144_000)]);
  expect(await seen()).toBe('2026-03-10T12:00:00.000Z');
  await usage.book('wireguard', 2, [reading(id, 1, 0, 0)]);
  expect(await seen()).toBe('2026-03-10T12:00:00.000Z');
});

test('ten processes that book the same reading at once count it once', async () => {
  const ids = Array.from({ length: 200 }, () => randomUUID());
  for (const round of [1, 2, 3]) {
    const readings = ids.map((id) => reading(id, round * 100, round * 1_000));
    const shuffled = () => readings.toSorted(() => Math.random() - 0.5);
    await Promise.all(Array.from({ length: 10 }, () => usage.book('wireguard', 1, shuffled())));
  }
  const [row] = await source.query(
    `SELECT min(rx_total) AS low, max(rx_total) AS high FROM usage_counters WHERE subject_id = ANY ($1)`,
    [ids],
  );
  expect(row).toEqual({ low: '300', high: '300' });
  expect(await usage.total('wireguard')).toMatchObject({ rx: 60_000n, tx: 600_000n });
});

test('bookings, samples and removals at once lose nothing and count nothing twice', async () => {
  const ids = Array.from({ length: 50 }, () => randomUUID());
  const kept = ids.slice(0, 40);
  const gone = ids.slice(40);
  for (let round = 1; round <= 12; round++) {
    await Promise.all([
      usage.book(
        'wireguard',
        1,
        kept.map((id) => reading(id, round * 10, round)),
      ),
      usage.book(
        'xray',
        1,
        [...gone].splice(0, round > 6 ? 0 : 10).map((id) => reading(id, round * 5, round)),
      ),
      usage.bookSamples(NOON),
      usage.bookSamples(NOON),
      ...(round === 8 ? [usage.retire(gone, NOON)] : []),
    ]);
  }
  await usage.bookSamples(NOON);
  expect(await usage.total('wireguard')).toMatchObject({ rx: 4_800n, tx: 480n });
  expect(await usage.total('xray')).toMatchObject({ rx: 300n, tx: 60n });
  for (const table of ['usage_minutes', 'usage_hours', 'usage_days']) {
    expect([table, await sampled(table)]).toEqual([table, [5_100, 540]]);
  }
  expect(await sampled('usage_days', 'kind = 2')).toEqual([300, 60]);
});

test('samples hold what moved, and each byte once whenever they are booked', async () => {
  const [id, idle] = [randomUUID(), randomUUID()];
  await usage.book('wireguard', 1, [reading(id, 100, 1_000), reading(idle, 0, 0)]);
  expect(await usage.bookSamples(NOON)).toBe(2);
  expect(await usage.bookSamples(NOON)).toBe(0);
  // Cut short between the two: the next booking still has all of it.
  await usage.book('wireguard', 1, [reading(id, 150, 1_000)]);
  await usage.book('wireguard', 1, [reading(id, 175, 1_000)]);
  await usage.bookSamples(new Date('2026-03-10T12:01:10Z'));
  for (const table of ['usage_minutes', 'usage_hours', 'usage_days']) {
    expect(await sampled(table)).toEqual([175, 1_000]);
    expect(await sampled(table, `subject_id = '${idle}'`)).toEqual([0, 0]);
  }
  const minutes = await usage.series({
    kind: 'wireguard',
    subjectId: id,
    from: new Date('2026-03-10T11:59:30Z'),
    to: new Date('2026-03-10T12:02:00Z'),
    step: 'minute',
  });
  expect(minutes.map((point) => [point.at.toISOString().slice(11, 16), point.rx, point.tx])).toEqual([
    ['11:59', 0, 0],
    ['12:00', 100, 1_000],
    ['12:01', 75, 0],
  ]);
});

test('a statement that fails half-way moves no mark', async () => {
  const id = randomUUID();
  await usage.book('wireguard', 1, [reading(id, 100, 1_000)]);
  await source.query(`ALTER TABLE usage_days ADD CONSTRAINT broken CHECK (rx < 0) NOT VALID`);
  await expect(usage.bookSamples(NOON)).rejects.toThrow('broken');
  await source.query(`ALTER TABLE usage_days DROP CONSTRAINT broken`);
  expect(await sampled('usage_minutes')).toEqual([0, 0]);
  await usage.bookSamples(NOON);
  expect(await sampled('usage_minutes')).toEqual([100, 1_000]);
  expect(await sampled('usage_days')).toEqual([100, 1_000]);
});

test('a clock that jumps forth and back neither fails nor counts twice', async () => {
  const id = randomUUID();
  await retention.maintain(NOON);
  let rx = 0;
  for (const at of [NOON, '2031-07-01T00:00:00Z', '2020-01-01T00:00:00Z', NOON, '1999-12-31T23:59:59Z', NOON]) {
    rx += 10;
    await usage.book('wireguard', 1, [reading(id, rx, 0)]);
    await usage.bookSamples(new Date(at));
  }
  for (const table of ['usage_minutes', 'usage_hours', 'usage_days']) expect(await sampled(table)).toEqual([60, 0]);
  expect(await sampled('usage_days', `at = '2026-03-10Z'`)).toEqual([30, 0]);
});

test('the total of a kind does not fall when subjects are retired', async () => {
  const [id, other] = [randomUUID(), randomUUID()];
  await usage.book('wireguard', 1, [reading(id, 100, 1_000), reading(other, 1, 1)]);
  await usage.bookSamples(NOON);
  await usage.book('wireguard', 1, [reading(id, 130, 1_000), reading(other, 1, 1)]);
  await usage.retire([id, randomUUID()], NOON);
  expect(await totalOf(id)).toBeNull();
  expect(await usage.total('wireguard')).toMatchObject({ rx: 131n, tx: 1_001n });
  expect(await usage.total('xray')).toEqual({ rx: 0n, tx: 0n });
  await usage.bookSamples(NOON);
  expect(await sampled('usage_days')).toEqual([131, 1_001]);
  const days = await usage.series({
    kind: 'wireguard',
    from: new Date('2026-03-09T00:00:00Z'),
    to: new Date('2026-03-12T00:00:00Z'),
    step: 'day',
  });
  expect(days.map((point) => point.rx)).toEqual([0, 131, 0]);
});

test('partitions are made a day ahead, and take over what the default one caught', async () => {
  const id = randomUUID();
  await usage.book('wireguard', 1, [reading(id, 100, 0)]);
  await usage.bookSamples(NOON);
  expect(await sampled('usage_minutes_default')).toEqual([100, 0]);
  await Promise.allSettled([retention.maintain(NOON), retention.maintain(NOON)]);
  await retention.maintain(NOON);
  expect(await partitionNames('usage_minutes')).toEqual(['2026-03-10', '2026-03-11']);
  expect(await partitionNames('usage_hours')).toEqual(['2026-03-10', '2026-03-11']);
  expect(await sampled('usage_minutes_default')).toEqual([0, 0]);
  expect(await sampled('usage_minutes_20260310')).toEqual([100, 0]);
  expect(await sampled('usage_hours')).toEqual([100, 0]);
});

test('old days become coarser, then go; newer ones and the days themselves stay', async () => {
  const id = randomUUID();
  let rx = 0;
  const start = Date.UTC(2026, 0, 1, 12, 3);
  for (let day = 0; day < 110; day++) {
    const now = new Date(start + day * 86_400_000);
    await retention.maintain(now);
    rx += 10;
    await usage.book('wireguard', 1, [reading(id, rx, 0)]);
    await usage.bookSamples(now);
    rx += 10;
    await usage.book('wireguard', 1, [reading(id, rx, 0)]);
    await usage.bookSamples(new Date(now.getTime() + 60_000));
  }
  // The last day is April 20. What one call folds ages at the next one.
  await retention.maintain(new Date(start + 109 * 86_400_000));
  expect(await partitionNames('usage_minutes')).toEqual(['2026-04-18', '2026-04-19', '2026-04-20', '2026-04-21']);
  expect(await sampled('usage_minutes')).toEqual([60, 0]);
  const fives = await partitionNames('usage_five_minutes');
  expect([fives[0], fives.at(-1)]).toEqual(['2026-04-04', '2026-04-17']);
  expect(await sampled('usage_five_minutes')).toEqual([280, 0]);
  const [folded] = await source.query(`SELECT count(*)::int AS rows, min(rx) AS least FROM usage_five_minutes`);
  expect(folded).toEqual({ rows: 28, least: '20' });
  const hours = await partitionNames('usage_hours');
  expect([hours.length, hours[0], hours.at(-1)]).toEqual([102, '2026-01-10', '2026-04-21']);
  expect(await sampled('usage_days')).toEqual([2_200, 0]);
});

test('a clock that jumps five years ahead takes only the oldest days away', async () => {
  const id = randomUUID();
  for (let day = 0; day < 20; day++) {
    const now = new Date(NOON.getTime() + day * 86_400_000);
    await retention.maintain(now);
    await usage.book('wireguard', 1, [reading(id, (day + 1) * 10, 0)]);
    await usage.bookSamples(now);
  }
  for (let minute = 0; minute < 5; minute++) await retention.maintain(new Date('2031-07-01T00:00:00Z'));
  expect(await sampled('usage_hours')).toEqual([200, 0]);
  // Fourteen days stay, the empty one that was made ahead among them.
  expect(await partitionNames('usage_five_minutes')).toHaveLength(14);
  expect(await sampled('usage_five_minutes')).toEqual([130, 0]);
});

test('each minute is booked by one of the processes that are not there for requests only, into the minute before', async () => {
  const id = randomUUID();
  const clock = new Clock();
  clock.now = () => new Date('2026-03-10T13:00:00.050Z');
  clock.nowMs = () => clock.now().getTime();
  const log = { warn: vi.fn<AppLogger['warn']>() };
  const scheduler = (role: Config['role']) =>
    new UsageScheduler(source, usage, retention, { role } as Config, clock, log as unknown as AppLogger);
  await usage.book('wireguard', 1, [reading(id, 100, 0)]);
  await scheduler('api').onApplicationBootstrap();
  await scheduler('api').bookSamples();
  expect(await sampled('usage_days')).toEqual([0, 0]);
  const workers = [scheduler('worker'), scheduler('all')];
  await Promise.all(workers.map((worker) => worker.onApplicationBootstrap()));
  await Promise.all(workers.map((worker) => worker.bookSamples()));
  expect(await sampled('usage_minutes_20260310', `at = '2026-03-10T12:59Z'`)).toEqual([100, 0]);
  expect(await sampled('usage_hours', `at = '2026-03-10T12:00Z'`)).toEqual([100, 0]);
  expect(log.warn).not.toHaveBeenCalled();
  // The database refuses: said in the log, and booked a minute later.
  await usage.book('wireguard', 1, [reading(id, 150, 0)]);
  await source.query(`ALTER TABLE usage_days ADD CONSTRAINT broken CHECK (rx < 0) NOT VALID`);
  await workers[0]?.bookSamples();
  expect(log.warn).toHaveBeenCalledTimes(1);
  await source.query(`ALTER TABLE usage_days DROP CONSTRAINT broken`);
  await workers[0]?.bookSamples();
  expect(await sampled('usage_days')).toEqual([150, 0]);
});

test('ten thousand active subjects', async () => {
  await retention.maintain(NOON);
  const ids = Array.from({ length: 10_000 }, () => randomUUID());
  const poll = (round: number) => ids.map((id, index) => reading(id, round * 1_000 + index, round * 9_000, round));
  const measure = async (what: string, work: () => Promise<unknown>): Promise<void> => {
    const position = async () =>
      (await source.query<[{ at: string }]>(`SELECT pg_current_wal_insert_lsn() AS at`))[0].at;
    const before = await position();
    const start = performance.now();
    await work();
    const ms = performance.now() - start;
    const [wal] = await source.query<[{ bytes: string }]>(`SELECT pg_current_wal_insert_lsn() - $1::pg_lsn AS bytes`, [
      before,
    ]);
    process.stdout.write(`${what}: ${ms.toFixed(0)} ms, ${(Number(wal.bytes) / 1e6).toFixed(1)} MB of WAL\n`);
  };
  await measure('10,000 new', () => usage.book('wireguard', 1, poll(1)));
  await source.query('VACUUM ANALYZE usage_counters');
  for (const round of [2, 3, 4]) await measure('10,000 active', () => usage.book('wireguard', 1, poll(round)));
  await measure('10,000 idle', () => usage.book('wireguard', 1, poll(4)));
  for (const minute of [0, 1, 2]) {
    await usage.book('wireguard', 1, poll(5 + minute));
    await measure('samples of 10,000', () => usage.bookSamples(new Date(NOON.getTime() + minute * 60_000)));
  }
  await measure('10,000 retired', () => usage.retire(ids, NOON));
  expect(await sampled('usage_days')).toEqual([ids.reduce((sum, _id, index) => sum + 7_000 + index, 0), 630_000_000]);
});
