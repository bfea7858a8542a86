import { Injectable } from '@nestjs/common';
import { InjectDataSource } from '@nestjs/typeorm';
import { DataSource } from 'typeorm';
import { Clock } from '../../platform/clock/clock.js';
import { kindSubject } from '../usage/usage-kinds.js';
import { UsageReportsService } from '../usage/usage-reports.service.js';
import { LIVE_STALE_MS } from './xray-users.service.js';
import { xraySpanInvalid } from './xray.errors.js';

const MOST_SECONDS = 172_800;
const MOST_TOP = 50;

export type LiveMetric = 'traffic' | 'conns' | 'online_users';

export interface LiveUser {
  email: string;
  alias: string;
  /** Bytes a second over the last poll, in the user's directions. */
  upRate: number;
  downRate: number;
  /** Connections opened within the last minute. */
  conns: number;
  /** Addresses seen within the last minutes, newest first, at most 16. */
  ips: string[];
}

export interface LiveNow {
  /** Who is online, most traffic first. */
  users: LiveUser[];
  /** Of the whole engine over the last poll. */
  upRate: number;
  downRate: number;
  /** Connections opened, and bytes moved, within the last minute. */
  conns: number;
  trafficBytes: number;
  /** When it was measured; null: nobody measures at this moment. */
  measuredAt: Date | null;
}

/** One bucket: bytes or connections within it, or the most users of one of its minutes. */
export interface LivePoint {
  at: Date;
  value: number;
}

export interface LiveTop {
  email: string;
  alias: string;
  value: number;
  /** Of all users' together, 0 to 100. */
  sharePercent: number;
}

/** What goes on now, and went on within the last two days. */
@Injectable()
export class XrayLiveService {
  constructor(
    @InjectDataSource() private readonly dataSource: DataSource,
    private readonly reports: UsageReportsService,
    private readonly clock: Clock,
  ) {}

  /** As the last poll saw it, whichever process polls. */
  async now(): Promise<LiveNow> {
    const rows = await this.dataSource.query<LiveTableRow[]>(
      `SELECT l.subject_id = $1 AS whole, l.at, l.up_rate, l.down_rate, l.bytes, l.conns, l.addresses, x.email, x.alias
         FROM xray_live l LEFT JOIN xray_users x ON x.id = l.subject_id AND x.removed_at IS NULL
        WHERE l.at > $2
        ORDER BY l.up_rate + l.down_rate DESC, x.email`,
      [kindSubject('xray'), new Date(this.clock.nowMs() - LIVE_STALE_MS)],
    );
    const whole = rows.find((row) => row.whole);
    return {
      users: rows.flatMap((row) =>
        row.email === null || row.alias === null
          ? []
          : {
              email: row.email,
              alias: row.alias,
              upRate: Number(row.up_rate),
              downRate: Number(row.down_rate),
              conns: row.conns,
              ips: row.addresses,
            },
      ),
      upRate: Number(whole?.up_rate ?? 0),
      downRate: Number(whole?.down_rate ?? 0),
      conns: whole?.conns ?? 0,
      trafficBytes: Number(whole?.bytes ?? 0),
      measuredAt: whole?.at ?? null,
    };
  }

  /**
   * The last `periodSeconds` (60 to 172800) in buckets of `granularitySeconds` (60 to the period; rounded up to whole
   * minutes), oldest first, zeros where nothing was. The last bucket is the present one. `xray_span_invalid`.
   */
  async series(metric: LiveMetric, periodSeconds: number, granularitySeconds: number): Promise<LivePoint[]> {
    checkSpan('period', periodSeconds, 60, MOST_SECONDS);
    checkSpan('granularity', granularitySeconds, 60, periodSeconds);
    const stepMs = Math.ceil(granularitySeconds / 60) * 60_000;
    const count = Math.ceil((periodSeconds * 1000) / stepMs);
    const firstMs = Math.floor(this.clock.nowMs() / stepMs) * stepMs - (count - 1) * stepMs;
    const points = Array.from({ length: count }, (_, index) => ({ at: new Date(firstMs + index * stepMs), value: 0 }));
    for (const { at, value } of await this.minutes(metric, new Date(firstMs))) {
      const point = points[Math.floor((at.getTime() - firstMs) / stepMs)];
      if (point) point.value = metric === 'online_users' ? Math.max(point.value, value) : point.value + value;
    }
    return points;
  }

  /** The first `limit` (1 to 50) of the last `periodSeconds` (60 to 172800). `xray_span_invalid`. */
  async top(metric: 'traffic' | 'conns', periodSeconds: number, limit: number): Promise<LiveTop[]> {
    checkSpan('period', periodSeconds, 60, MOST_SECONDS);
    checkSpan('limit', limit, 1, MOST_TOP);
    const from = new Date(Math.floor((this.clock.nowMs() - periodSeconds * 1000) / 60_000) * 60_000);
    // Users who are gone meanwhile are left out of the list: some more are asked for.
    const { top, sum } = await this.reports.top('xray', metric, from, limit + MOST_TOP);
    const rows = await this.dataSource.query<{ id: string; email: string; alias: string }[]>(
      'SELECT id, email, alias FROM xray_users WHERE id = ANY ($1::uuid[]) AND removed_at IS NULL',
      [top.map((entry) => entry.subjectId)],
    );
    const people = new Map(rows.map((row) => [row.id, row]));
    return top
      .flatMap(({ subjectId, value }) => {
        const person = people.get(subjectId);
        if (!person) return [];
        return { email: person.email, alias: person.alias, value, sharePercent: Math.round((value / sum) * 1000) / 10 };
      })
      .slice(0, limit);
  }

  private async minutes(metric: LiveMetric, from: Date): Promise<LivePoint[]> {
    if (metric === 'online_users') {
      return this.dataSource.query<LivePoint[]>(
        'SELECT at, online_users AS value FROM xray_minutes WHERE at >= $1 ORDER BY at',
        [from],
      );
    }
    const points = await this.reports.series({ kind: 'xray', from, to: this.clock.now(), step: 'minute' }, true);
    return points.map(({ at, rx, tx, conns }) => ({ at, value: metric === 'conns' ? conns : rx + tx }));
  }
}

interface LiveTableRow {
  whole: boolean;
  at: Date;
  up_rate: string;
  down_rate: string;
  bytes: string;
  conns: number;
  addresses: string[];
  email: string | null;
  alias: string | null;
}

function checkSpan(name: string, value: number, least: number, most: number): void {
  if (!Number.isInteger(value) || value < least || value > most) throw xraySpanInvalid(name, least, most);
}
