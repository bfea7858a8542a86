import { Injectable } from '@nestjs/common';
import { InjectDataSource } from '@nestjs/typeorm';
import { DataSource } from 'typeorm';
import { kindSubject, USAGE_KINDS, type UsageKind } from './usage-kinds.js';
import { type UsagePoint, UsageService, type UsageStep } from './usage.service.js';

const HOUR_MS = 3_600_000;
const DAY_MS = 86_400_000;

export type UsageMetric = 'traffic' | 'conns';

/** What one subject did on one day. */
export interface DayUsage {
  /** Days since the first day asked for. */
  day: number;
  /** Both directions. */
  bytes: number;
  conns: number;
}

export interface TopEntry {
  subjectId: string;
  value: number;
}

const VALUES: Record<UsageMetric, { sample: string; counter: string }> = {
  traffic: { sample: 'rx + tx', counter: 'rx_total + tx_total - rx_booked - tx_booked' },
  conns: { sample: 'conns', counter: 'conns_total - conns_booked' },
};

/** Reads the ledger for dashboards: sums, tops and days, with what the samples do not hold yet. Never writes. */
@Injectable()
export class UsageReportsService {
  constructor(
    @InjectDataSource() private readonly dataSource: DataSource,
    private readonly usage: UsageService,
  ) {}

  /**
   * One point a bucket, as UsageService.series. `upToNow`: what is not in the samples yet counts into the last one.
   * Absent subject: the whole kind.
   */
  async series(
    query: { kind: UsageKind; subjectId?: string | undefined; from: Date; to: Date; step: UsageStep },
    upToNow: boolean,
  ): Promise<UsagePoint[]> {
    const subjectId = query.subjectId ?? kindSubject(query.kind);
    const points = await this.usage.series({ ...query, subjectId });
    const last = points.at(-1);
    if (!upToNow || !last) return points;
    const [rest] = await this.dataSource.query<{ rx: string; tx: string; conns: string }[]>(
      `SELECT rx_total - rx_booked AS rx, tx_total - tx_booked AS tx, conns_total - conns_booked AS conns
         FROM usage_counters WHERE subject_id = $1`,
      [subjectId],
    );
    if (rest) {
      last.rx += Number(rest.rx);
      last.tx += Number(rest.tx);
      last.conns += Number(rest.conns);
    }
    return points;
  }

  /**
   * Who moved or opened most since `from`, at most two days ago, up to now; with the sum of all. Whole hours come from
   * the hours, and the part of an hour at the start from its minutes, whichever side of it is shorter.
   */
  async top(
    kind: UsageKind,
    metric: UsageMetric,
    from: Date,
    limit: number,
  ): Promise<{ top: TopEntry[]; sum: number }> {
    const hour = Math.floor(from.getTime() / HOUR_MS) * HOUR_MS;
    const late = from.getTime() - hour > HOUR_MS / 2;
    const { sample, counter } = VALUES[metric];
    const rows = await this.dataSource.query<{ subject_id: string; value: string; sum: string }[]>(
      `WITH part AS (
         SELECT subject_id, sum(${sample}) AS value FROM usage_hours
          WHERE kind = $1 AND at >= $3 GROUP BY subject_id
         UNION ALL
         SELECT subject_id, $6::int * sum(${sample}) FROM usage_minutes
          WHERE kind = $1 AND at >= $4 AND at < $5 GROUP BY subject_id
         UNION ALL
         SELECT subject_id, ${counter} FROM usage_counters WHERE kind = $1 AND ${counter} > 0
       ), whole AS (
         SELECT subject_id, sum(value) AS value FROM part WHERE subject_id <> $2 GROUP BY subject_id
       )
       SELECT subject_id, value, sum(value) OVER () AS sum FROM whole WHERE value > 0
        ORDER BY value DESC, subject_id LIMIT $7`,
      [
        USAGE_KINDS[kind],
        kindSubject(kind),
        new Date(late ? hour + HOUR_MS : hour),
        late ? from : new Date(hour),
        late ? new Date(hour + HOUR_MS) : from,
        late ? 1 : -1,
        limit,
      ],
    );
    return {
      top: rows.map((row) => ({ subjectId: row.subject_id, value: Number(row.value) })),
      sum: Number(rows[0]?.sum ?? 0),
    };
  }

  /**
   * What each subject did on each day from `from` to before `to`, both midnights of UTC; days and subjects without
   * anything are absent. What the samples do not hold yet counts into the day of `now`.
   */
  async daysOfAll(kind: UsageKind, from: Date, to: Date, now: Date): Promise<Map<string, DayUsage[]>> {
    // Three texts a subject: many times cheaper to hand over than a row a day, or than arrays, which `pg` reads slowly.
    const rows = await this.dataSource.transaction(async (tx) => {
      // Not extract(), which reckons in numeric. The sums of thousands of subjects stay in memory.
      await tx.query(`SET LOCAL work_mem = '32MB'`);
      return tx.query<{ subject_id: string; days: string; bytes: string; conns: string }[]>(
        `SELECT subject_id, array_agg(day)::text AS days, array_agg(bytes)::text AS bytes, array_agg(conns)::text AS conns
           FROM (SELECT subject_id, date_part('epoch', at - $3::timestamptz)::int / 86400 AS day, rx + tx AS bytes,
                        conns::bigint AS conns
                   FROM usage_days WHERE kind = $1 AND at >= $3 AND at < $4
                 UNION ALL
                 SELECT subject_id, $5::int, rx_total + tx_total - rx_booked - tx_booked, conns_total - conns_booked
                   FROM usage_counters
                  WHERE kind = $1 AND $5 >= 0
                    AND (rx_total <> rx_booked OR tx_total <> tx_booked OR conns_total <> conns_booked)) d
          WHERE subject_id <> $2
          GROUP BY subject_id`,
        [USAGE_KINDS[kind], kindSubject(kind), from, to, now < to ? Math.floor((+now - +from) / DAY_MS) : -1],
      );
    });
    const numbers = (text: string) => text.slice(1, -1).split(',').map(Number);
    return new Map(
      rows.map((row) => {
        const [bytes, conns] = [numbers(row.bytes), numbers(row.conns)];
        const days = numbers(row.days).map((day, at) => ({ day, bytes: bytes[at] ?? 0, conns: conns[at] ?? 0 }));
        return [row.subject_id, days];
      }),
    );
  }

  /** The days (UTC midnights) on which anything of the kind moved, oldest first. */
  async dates(kind: UsageKind, now: Date): Promise<Date[]> {
    const rows = await this.dataSource.query<{ day: Date }[]>(
      `SELECT day FROM generate_series((SELECT min(at) FROM usage_days WHERE kind = $1), $3::timestamptz, interval '1 day')
               AS series (day)
        WHERE EXISTS (SELECT 1 FROM usage_days WHERE kind = $1 AND at = day AND subject_id = $2)
        ORDER BY day`,
      [USAGE_KINDS[kind], kindSubject(kind), now],
    );
    return rows.map((row) => row.day);
  }
}
