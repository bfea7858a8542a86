import { Injectable } from '@nestjs/common';
import { InjectDataSource } from '@nestjs/typeorm';
import { DataSource, type EntityManager } from 'typeorm';
import { kindSubject, USAGE_KINDS, type UsageKind } from './usage-kinds.js';

/** What an engine's counters show of one subject. Directions are the server's. */
export interface UsageReading {
  subjectId: string;
  /** Bytes that came from the subject. A safe integer. */
  rx: number;
  /** Bytes that went to the subject. A safe integer. */
  tx: number;
  /** Unix seconds, 0 when there was none in this life of the engine: what is known stays. */
  latestHandshake: number;
}

/** Lifetime bytes, in the server's directions. */
export interface UsageTotals {
  rx: bigint;
  tx: bigint;
}

export interface SubjectUsage extends UsageTotals {
  lastHandshakeAt: Date | null;
}

export interface UsagePoint {
  /** Where the bucket begins. */
  at: Date;
  /** Bytes within the bucket. */
  rx: number;
  tx: number;
  conns: number;
}

export interface SeriesQuery {
  kind: UsageKind;
  /** Absent: the whole kind, subjects that are gone included. */
  subjectId?: string;
  /** Included; the bucket that it lies in is the first one. */
  from: Date;
  /** Excluded. */
  to: Date;
  /** Minutes are kept for 48 hours, hours for 100 days, days for ever. Buckets are those of UTC. */
  step: UsageStep;
}

export type UsageStep = 'minute' | 'hour' | 'day';

/** Transactions that write counters come one after another; each holds this until it ends. */
const LEDGER_LOCK = 7_305_700_001;
const SAMPLE_TABLES = { minute: 'usage_minutes', hour: 'usage_hours', day: 'usage_days' } as const;
/** All buckets are multiples of their length from here. */
const ORIGIN = `timestamptz '2000-01-01 00:00:00+00'`;

const BOOK = `
  WITH reading AS (
    SELECT * FROM unnest($4::uuid[], $5::bigint[], $6::bigint[], $7::bigint[]) AS r (subject_id, rx, tx, handshake)
  ), change AS MATERIALIZED (
    SELECT r.subject_id, r.rx, r.tx, to_timestamp(nullif(r.handshake, 0)) AS handshake_at,
           c.subject_id IS NULL AS is_new,
           r.rx - CASE WHEN life.goes_on THEN c.rx_last ELSE 0 END AS rx_delta,
           r.tx - CASE WHEN life.goes_on THEN c.tx_last ELSE 0 END AS tx_delta
    FROM reading r
    LEFT JOIN usage_counters c ON c.subject_id = r.subject_id
    CROSS JOIN LATERAL (SELECT c.epoch = $3 AND r.rx >= c.rx_last AND r.tx >= c.tx_last AS goes_on) life
    WHERE c.subject_id IS NULL OR c.epoch <> $3 OR c.rx_last <> r.rx OR c.tx_last <> r.tx
       OR (r.handshake > 0 AND c.last_handshake_at IS DISTINCT FROM to_timestamp(r.handshake))
  ), known AS (
    UPDATE usage_counters c
    SET epoch = $3, rx_last = n.rx, tx_last = n.tx,
        rx_total = c.rx_total + n.rx_delta, tx_total = c.tx_total + n.tx_delta,
        last_handshake_at = coalesce(n.handshake_at, c.last_handshake_at)
    FROM change n
    WHERE c.subject_id = n.subject_id
  ), unknown AS (
    INSERT INTO usage_counters (subject_id, kind, epoch, rx_last, tx_last, rx_total, tx_total, last_handshake_at)
    SELECT subject_id, $1, $3, rx, tx, rx_delta, tx_delta, handshake_at FROM change WHERE is_new
  ), moved AS (
    SELECT count(*)::int AS subjects, sum(rx_delta)::bigint AS rx, sum(tx_delta)::bigint AS tx
    FROM change WHERE rx_delta > 0 OR tx_delta > 0
  ), whole AS (
    INSERT INTO usage_counters (subject_id, kind, rx_total, tx_total)
    SELECT $2, $1, rx, tx FROM moved WHERE subjects > 0
    ON CONFLICT (subject_id) DO UPDATE
    SET rx_total = usage_counters.rx_total + excluded.rx_total, tx_total = usage_counters.tx_total + excluded.tx_total
  )
  SELECT subjects FROM moved`;

const upsertSamples = (table: string, bucket: string): string => `
    INSERT INTO ${table} (kind, at, subject_id, rx, tx, conns)
    SELECT kind, date_bin(interval '${bucket}', $1, ${ORIGIN}), subject_id, rx, tx, conns FROM due
    ON CONFLICT (kind, at, subject_id) DO UPDATE
    SET rx = ${table}.rx + excluded.rx, tx = ${table}.tx + excluded.tx, conns = ${table}.conns + excluded.conns`;

/** $1: the moment; $2: the subjects, or null for all. */
const BOOK_SAMPLES = `
  WITH due AS MATERIALIZED (
    SELECT kind, subject_id, rx_total - rx_booked AS rx, tx_total - tx_booked AS tx,
           (conns_total - conns_booked)::int AS conns
    FROM usage_counters
    WHERE (rx_total <> rx_booked OR tx_total <> tx_booked OR conns_total <> conns_booked)
      AND ($2::uuid[] IS NULL OR subject_id = ANY ($2))
  ), marked AS (
    UPDATE usage_counters c
    SET rx_booked = c.rx_booked + due.rx, tx_booked = c.tx_booked + due.tx, conns_booked = c.conns_booked + due.conns
    FROM due WHERE c.subject_id = due.subject_id
  ), minutes AS (${upsertSamples('usage_minutes', '1 minute')}
  ), hours AS (${upsertSamples('usage_hours', '1 hour')}
  ), days AS (${upsertSamples('usage_days', '1 day')}
  )
  SELECT count(*)::int AS subjects FROM due`;

/**
 * The traffic ledger. Counters are what an engine showed last and what that adds up to; once a minute the part of the
 * totals that is not in the samples yet is moved there. Every write is one statement, so a crash anywhere leaves
 * each byte counted once. Methods with a `manager` join the caller's transaction, which must be READ COMMITTED; until
 * it ends nobody else can write to the ledger, so call them last.
 */
@Injectable()
export class UsageService {
  constructor(@InjectDataSource() private readonly dataSource: DataSource) {}

  /**
   * Adds what moved since the last reading to the totals. `epoch` names the life of the engine's counters (a safe
   * integer): in a new life, and when either value went down, a subject counts from zero. The same reading twice
   * counts once. Readings must be booked in the order in which they were taken, which the engine's owner sees to.
   * Subjects that were never seen count from zero too. Returns how many subjects moved.
   *
   * Who is past a quota is asked of the rows, not of one booking, so a lower quota and a crash change nothing:
   * `SELECT c.id FROM clients c JOIN usage_counters u ON u.subject_id = c.id WHERE c.traffic_limit_bytes > 0 AND
   * u.rx_total + u.tx_total >= c.traffic_limit_bytes`.
   */
  async book(kind: UsageKind, epoch: number, readings: UsageReading[], manager?: EntityManager): Promise<number> {
    if (readings.length === 0) return 0;
    // One statement can change a row only once.
    const unique = new Map(readings.map((reading) => [reading.subjectId, reading]));
    const column = <K extends keyof UsageReading>(key: K) => Array.from(unique.values(), (reading) => reading[key]);
    return this.write(manager, async (transaction) => {
      const [row] = await transaction.query<[{ subjects: number }]>(BOOK, [
        USAGE_KINDS[kind],
        kindSubject(kind),
        epoch,
        column('subjectId'),
        column('rx'),
        column('tx'),
        column('latestHandshake'),
      ]);
      return row.subjects;
    });
  }

  /** Adds connections that were opened since the last call, by subject. Nothing here tells the same ones twice. */
  async countConnections(kind: UsageKind, conns: ReadonlyMap<string, number>, manager?: EntityManager): Promise<void> {
    if (conns.size === 0) return;
    const together = [...conns.values()].reduce((sum, count) => sum + count, 0);
    await this.write(manager, (transaction) =>
      transaction.query(
        `INSERT INTO usage_counters AS u (subject_id, kind, conns_total)
         SELECT subject_id, $1, conns FROM unnest($2::uuid[], $3::bigint[]) AS c (subject_id, conns)
         ON CONFLICT (subject_id) DO UPDATE SET conns_total = u.conns_total + excluded.conns_total`,
        [USAGE_KINDS[kind], [...conns.keys(), kindSubject(kind)], [...conns.values(), together]],
      ),
    );
  }

  /**
   * The engine no longer counts these subjects; should it ever again, it begins at zero. A last reading before the
   * removal is `book` and then this, with one manager.
   */
  async forget(subjectIds: string[], manager?: EntityManager): Promise<void> {
    if (subjectIds.length === 0) return;
    await this.write(manager, (transaction) =>
      transaction.query(
        `UPDATE usage_counters SET rx_last = 0, tx_last = 0
         WHERE subject_id = ANY ($1::uuid[]) AND (rx_last <> 0 OR tx_last <> 0)`,
        [subjectIds],
      ),
    );
  }

  /**
   * Ends the books of subjects that are deleted: what was counted goes to the samples, stays in the total of the kind,
   * and the counters go. No reading of them may follow. Unknown subjects are ignored.
   */
  async retire(subjectIds: string[], now: Date, manager?: EntityManager): Promise<void> {
    if (subjectIds.length === 0) return;
    await this.write(manager, async (transaction) => {
      await transaction.query(BOOK_SAMPLES, [now, subjectIds]);
      await transaction.query(`DELETE FROM usage_counters WHERE subject_id = ANY ($1::uuid[])`, [subjectIds]);
    });
  }

  /**
   * Opens the books of subjects again that `retire` closed: their totals begin with what the days hold of them. Those
   * with counters and those that never moved are left alone.
   */
  async revive(kind: UsageKind, subjectIds: string[], manager?: EntityManager): Promise<void> {
    if (subjectIds.length === 0) return;
    await this.write(manager, (transaction) =>
      transaction.query(
        `INSERT INTO usage_counters (subject_id, kind, rx_total, rx_booked, tx_total, tx_booked, conns_total, conns_booked)
         SELECT subject_id, kind, sum(rx), sum(rx), sum(tx), sum(tx), sum(conns), sum(conns)
         FROM usage_days WHERE kind = $1 AND subject_id = ANY ($2::uuid[]) GROUP BY subject_id, kind
         ON CONFLICT (subject_id) DO NOTHING`,
        [USAGE_KINDS[kind], subjectIds],
      ),
    );
  }

  /**
   * Says what an engine shows of subjects that came back by `revive` and were not read since, where it kept counting
   * them under the same name: that is in their totals already. Others are left alone.
   */
  async resume(epoch: number, readings: UsageReading[], manager?: EntityManager): Promise<void> {
    if (readings.length === 0) return;
    await this.write(manager, (transaction) =>
      transaction.query(
        `UPDATE usage_counters c SET epoch = $1, rx_last = r.rx, tx_last = r.tx
           FROM unnest($2::uuid[], $3::bigint[], $4::bigint[]) AS r (subject_id, rx, tx)
          WHERE c.subject_id = r.subject_id AND c.epoch = 0`,
        [epoch, readings.map(({ subjectId }) => subjectId), readings.map(({ rx }) => rx), readings.map(({ tx }) => tx)],
      ),
    );
  }

  /**
   * Moves what the samples do not hold yet into the minute, hour and day of `at`. Whatever the clock does, each byte
   * goes there once. Returns how many subjects moved, each kind being one as well.
   */
  async bookSamples(at: Date): Promise<number> {
    return this.write(undefined, async (transaction) => {
      const [row] = await transaction.query<[{ subjects: number }]>(BOOK_SAMPLES, [at, null]);
      return row.subjects;
    });
  }

  /** Lifetime bytes of all subjects of a kind, deleted ones included: it never falls. */
  async total(kind: UsageKind): Promise<UsageTotals> {
    const totals = await this.totalsOf([kindSubject(kind)]);
    return totals.get(kindSubject(kind)) ?? { rx: 0n, tx: 0n };
  }

  /** Lifetime bytes by subject; subjects that were never counted are absent. Lists join `usage_counters` instead. */
  async totalsOf(subjectIds: string[], manager?: EntityManager): Promise<Map<string, SubjectUsage>> {
    const rows = await (manager ?? this.dataSource.manager).query<
      { subject_id: string; rx_total: string; tx_total: string; last_handshake_at: Date | null }[]
    >(
      `SELECT subject_id, rx_total, tx_total, last_handshake_at FROM usage_counters WHERE subject_id = ANY ($1::uuid[])`,
      [subjectIds],
    );
    return new Map(
      rows.map((row) => [
        row.subject_id,
        { rx: BigInt(row.rx_total), tx: BigInt(row.tx_total), lastHandshakeAt: row.last_handshake_at },
      ]),
    );
  }

  /** One point a bucket, zeros where nothing moved; at most a minute behind. The caller bounds the span. */
  async series(query: SeriesQuery): Promise<UsagePoint[]> {
    const table = SAMPLE_TABLES[query.step];
    const subjectId = query.subjectId ?? kindSubject(query.kind);
    // LIMIT keeps it a probe for each bucket; joined freely, whole partitions would be read for one subject.
    const rows = await this.dataSource.query<{ at: Date; rx: string; tx: string; conns: number }[]>(
      `SELECT bucket.at, coalesce(s.rx, 0) AS rx, coalesce(s.tx, 0) AS tx, coalesce(s.conns, 0) AS conns
       FROM generate_series(date_bin($1::interval, $2::timestamptz, ${ORIGIN}), $3::timestamptz - interval '1 ms',
                            $1::interval) AS bucket (at)
       LEFT JOIN LATERAL (
         SELECT rx, tx, conns FROM ${table}
         WHERE kind = $4 AND at = bucket.at AND subject_id = $5
           AND at >= date_bin($1::interval, $2::timestamptz, ${ORIGIN}) AND at < $3
         LIMIT 1
       ) s ON true
       ORDER BY bucket.at`,
      [`1 ${query.step}`, query.from, query.to, USAGE_KINDS[query.kind], subjectId],
    );
    return rows.map((row) => ({ at: row.at, rx: Number(row.rx), tx: Number(row.tx), conns: row.conns }));
  }

  private async write<T>(manager: EntityManager | undefined, work: (manager: EntityManager) => Promise<T>): Promise<T> {
    const locked = async (transaction: EntityManager): Promise<T> => {
      // A statement of its own: the next one then sees what the last holder wrote.
      await transaction.query('SELECT pg_advisory_xact_lock($1)', [LEDGER_LOCK]);
      return work(transaction);
    };
    return manager ? locked(manager) : this.dataSource.transaction(locked);
  }
}
