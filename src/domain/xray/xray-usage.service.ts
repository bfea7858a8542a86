import { Injectable } from '@nestjs/common';
import { InjectDataSource } from '@nestjs/typeorm';
import { DataSource } from 'typeorm';
import { Clock, parseUtc } from '../../platform/clock/clock.js';
import { kindSubject } from '../usage/usage-kinds.js';
import { type DayUsage, UsageReportsService } from '../usage/usage-reports.service.js';
import type { UsagePoint } from '../usage/usage.service.js';
import { emailKey } from './xray-user.rules.js';
import { xrayDateInvalid, xraySpanInvalid, xrayUserNotFound } from './xray.errors.js';

const DAY_MS = 86_400_000;
const MOST_DAYS = 366;
const TOP_DOMAINS = 10;
/** A change by more than this, either way, is out of the ordinary. */
const ANOMALY = 0.2;

export interface DomainValue {
  domain: string;
  value: number;
}

export interface UserDays {
  uuid: string;
  email: string;
  alias: string;
  /** Its traffic changed by more than 20 % against the seven days before. */
  anomaly: boolean;
  /** One entry a day of `days`. */
  dailyTrafficBytes: number[];
  dailyConns: number[];
  /** The last seven days of the span, and the seven before them. */
  sum7TrafficBytes: number;
  sumPrev7TrafficBytes: number;
  sum7Conns: number;
  sumPrev7Conns: number;
}

/** The books of a span of days. Days without traffic are zeros; users who are gone count in the global part. */
export interface UsageDashboard {
  /** `YYYY-MM-DD`, UTC, oldest first. */
  days: string[];
  global: {
    dailyTrafficBytes: number[];
    /** Of the span before, day by day. */
    prevDailyTrafficBytes: number[];
    dailyConns: number[];
    prevDailyConns: number[];
    cumulativeTrafficBytes: number[];
    cumulativeConns: number[];
    /** Bytes are counted by user; here each user's are shared out among the domains of its connections: an estimate. */
    topDomainsTraffic: DomainValue[];
    topDomainsConns: DomainValue[];
  };
  users: UserDays[];
}

/** The usage of days, for dashboards. */
@Injectable()
export class XrayUsageService {
  constructor(
    @InjectDataSource() private readonly dataSource: DataSource,
    private readonly reports: UsageReportsService,
    private readonly clock: Clock,
  ) {}

  /**
   * The last `days` (1 to 366) up to today. With `email` the global part is of that user alone. Errors:
   * `xray_span_invalid`, `xray_user_not_found`.
   */
  async dashboard(days: number, email?: string): Promise<UsageDashboard> {
    if (!Number.isInteger(days) || days < 1 || days > MOST_DAYS) throw xraySpanInvalid('days', 1, MOST_DAYS);
    return this.build(this.midnight() - (days - 1) * DAY_MS, days, email);
  }

  /** One day, `YYYY-MM-DD`. Errors: `xray_date_invalid`, `xray_user_not_found`. */
  async dashboardOf(date: string, email?: string): Promise<UsageDashboard> {
    const day = /^\d{4}-\d\d-\d\d$/.test(date) ? parseUtc(date) : null;
    if (day === null || day.getTime() > this.midnight()) throw xrayDateInvalid();
    return this.build(day.getTime(), 1, email);
  }

  /** The days that have traffic or connections, oldest first, `YYYY-MM-DD`. */
  async dates(): Promise<string[]> {
    return (await this.reports.dates('xray', this.clock.now())).map(dayText);
  }

  private midnight(): number {
    return Math.floor(this.clock.nowMs() / DAY_MS) * DAY_MS;
  }

  private async build(fromMs: number, days: number, email?: string): Promise<UsageDashboard> {
    const people = await this.people(email);
    const one = email === undefined ? undefined : people[0];
    if (email !== undefined && !one) throw xrayUserNotFound(email.slice(0, 255));
    const toMs = fromMs + days * DAY_MS;
    // The two weeks behind `sum7` and the one before it are asked for in any case.
    const usersFromMs = Math.min(fromMs, toMs - 14 * DAY_MS);
    const [points, byUser, domains] = await Promise.all([
      this.days(fromMs - days * DAY_MS, toMs, one?.id),
      one ? this.daysOfOne(one.id, usersFromMs, toMs) : this.daysOfAll(usersFromMs, toMs),
      this.domains(one?.id ?? kindSubject('xray'), fromMs, days),
    ]);
    const traffic = points.map((point) => point.rx + point.tx);
    const conns = points.map((point) => point.conns);
    return {
      days: Array.from({ length: days }, (_, index) => dayText(new Date(fromMs + index * DAY_MS))),
      global: {
        dailyTrafficBytes: traffic.slice(days),
        prevDailyTrafficBytes: traffic.slice(0, days),
        dailyConns: conns.slice(days),
        prevDailyConns: conns.slice(0, days),
        cumulativeTrafficBytes: cumulative(traffic.slice(days)),
        cumulativeConns: cumulative(conns.slice(days)),
        topDomainsTraffic: topDomains(domains, 'bytes'),
        topDomainsConns: topDomains(domains, 'conns'),
      },
      users: people.map((person) => userDays(person, byUser.get(person.id) ?? [], days, (toMs - usersFromMs) / DAY_MS)),
    };
  }

  private people(email?: string): Promise<Person[]> {
    if (email !== undefined && email.includes('\0')) return Promise.resolve([]);
    return this.dataSource.query<Person[]>(
      `SELECT id, uuid, email, alias FROM xray_users
        WHERE removed_at IS NULL AND ($1::text IS NULL OR email_key = $1) ORDER BY created_at, id`,
      [email === undefined ? null : emailKey(email.slice(0, 1024))],
    );
  }

  /** One point a day. The present day has what is not in the samples yet as well. */
  private async days(fromMs: number, toMs: number, subjectId?: string): Promise<UsagePoint[]> {
    const query = { kind: 'xray', subjectId, from: new Date(fromMs), to: new Date(toMs), step: 'day' } as const;
    return this.reports.series(query, toMs > this.clock.nowMs());
  }

  private async daysOfOne(id: string, fromMs: number, toMs: number): Promise<Map<string, DayUsage[]>> {
    const points = await this.days(fromMs, toMs, id);
    return new Map([[id, points.map(({ rx, tx, conns }, day) => ({ day, bytes: rx + tx, conns }))]]);
  }

  private daysOfAll(fromMs: number, toMs: number): Promise<Map<string, DayUsage[]>> {
    return this.reports.daysOfAll('xray', new Date(fromMs), new Date(toMs), this.clock.now());
  }

  private domains(userId: string, fromMs: number, days: number): Promise<DomainSum[]> {
    // Day by day: the key begins with the day, and a span of it holds the domains of all users.
    return this.dataSource.query<DomainSum[]>(
      `SELECT d.domain, sum(d.conns)::float8 AS conns, sum(d.bytes)::float8 AS bytes
         FROM generate_series(0, $3::int - 1) AS series (ahead)
        CROSS JOIN LATERAL (
          SELECT domain, conns, bytes FROM xray_domains
           WHERE day = $2::date + ahead AND user_id = $1 AND domain <> 'other' OFFSET 0) d
        GROUP BY d.domain`,
      [userId, dayText(new Date(fromMs)), days],
    );
  }
}

interface Person {
  id: string;
  uuid: string;
  email: string;
  alias: string;
}

interface DomainSum {
  domain: string;
  conns: number;
  bytes: number;
}

const dayText = (day: Date): string => day.toISOString().slice(0, 10);

function cumulative(values: readonly number[]): number[] {
  let sum = 0;
  return values.map((value) => (sum += value));
}

function topDomains(sums: readonly DomainSum[], by: 'conns' | 'bytes'): DomainValue[] {
  return sums
    .filter((sum) => sum[by] > 0)
    .toSorted((a, b) => b[by] - a[by] || (a.domain < b.domain ? -1 : 1))
    .slice(0, TOP_DOMAINS)
    .map((sum) => ({ domain: sum.domain, value: sum[by] }));
}

/** `usage` covers `covered` days, of which the last `days` are shown. */
function userDays(person: Person, usage: readonly DayUsage[], days: number, covered: number): UserDays {
  const bytes = Array.from({ length: covered }, () => 0);
  const conns = Array.from({ length: covered }, () => 0);
  for (const entry of usage) {
    bytes[entry.day] = (bytes[entry.day] ?? 0) + entry.bytes;
    conns[entry.day] = (conns[entry.day] ?? 0) + entry.conns;
  }
  const sum = (values: number[], from: number, to?: number) => values.slice(from, to).reduce((a, b) => a + b, 0);
  const now = sum(bytes, -7);
  const before = sum(bytes, -14, -7);
  return {
    uuid: person.uuid,
    email: person.email,
    alias: person.alias,
    anomaly: before > 0 && Math.abs(now - before) / before > ANOMALY,
    dailyTrafficBytes: bytes.slice(-days),
    dailyConns: conns.slice(-days),
    sum7TrafficBytes: now,
    sumPrev7TrafficBytes: before,
    sum7Conns: sum(conns, -7),
    sumPrev7Conns: sum(conns, -14, -7),
  };
}
