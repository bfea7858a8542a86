import { Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { Cron } from '@nestjs/schedule';
import { InjectDataSource } from '@nestjs/typeorm';
import { DataSource, type EntityManager, type SelectQueryBuilder } from 'typeorm';
import { Clock } from '../../platform/clock/clock.js';
import { requestContext } from '../../platform/context/request-context.js';
import { AppLogger } from '../../platform/logging/app-logger.js';
import { maskDetails } from './details-mask.js';
import { AuditEvent, type EventSeverity } from './event.entity.js';
import { printable } from './printable.js';

export interface NewEvent {
  /** Upper-case family: USER, CLIENT, INTERFACE, SETTINGS, AUTH, ENGINE, SYSTEM. */
  type: string;
  /** INFO unless told. */
  severity?: EventSeverity;
  /** The part of the product: wireguard, auth. */
  service: string;
  /** What happened, in snake case: `client_created`. */
  action: string;
  /** What it was done to: a name or an id. */
  target?: string | null;
  /** One sentence for an operator, without secrets. */
  message: string;
  /** Before and after. Values under names of secrets are masked here. */
  details?: Readonly<Record<string, unknown>>;
  /** Who did it, where that is not the one whose request this is. */
  actor?: string;
}

/** Which events are meant; what is absent does not narrow. */
export interface EventFilter {
  type?: string | undefined;
  severity?: EventSeverity | undefined;
  service?: string | undefined;
  since?: Date | undefined;
  /** Exclusive. */
  until?: Date | undefined;
}

export interface EventQuery extends EventFilter {
  limit: number;
  offset: number;
}

/** How many events there are of each. */
export interface EventStatistics {
  total: number;
  byType: Record<string, number>;
  bySeverity: Record<EventSeverity, number>;
  byService: Record<string, number>;
}

const KEPT_DAYS = 400;
const MONTHS_AHEAD = 2;
const DAY_MS = 86_400_000;
/** A statement has at most 65,535 parameters, and a row here nine. */
const INSERT_ROWS = 1_000;

/** The append-only record of every change: by whom, from where, before and after. */
@Injectable()
export class EventsService implements OnApplicationBootstrap {
  constructor(
    @InjectDataSource() private readonly dataSource: DataSource,
    private readonly clock: Clock,
    private readonly log: AppLogger,
  ) {}

  onApplicationBootstrap(): Promise<void> {
    return this.purgeDaily();
  }

  @Cron('23 3 * * *', { timeZone: 'UTC' })
  async purgeDaily(): Promise<void> {
    try {
      await this.purge();
    } catch (error) {
      // Events go to the default partition meanwhile: nothing is lost.
      this.log.warn('partitions of events are as they were, the next day tries again', { error: String(error) });
    }
  }

  /**
   * Writes one event, in the caller's transaction when there is one, so that neither is there without the other. Actor
   * and address are those of the current request.
   */
  record(event: NewEvent, manager: EntityManager = this.dataSource.manager): Promise<void> {
    return this.recordAll([event], manager);
  }

  /** The same for many at once, in few statements. */
  async recordAll(events: readonly NewEvent[], manager: EntityManager = this.dataSource.manager): Promise<void> {
    const context = requestContext.current();
    for (let from = 0; from < events.length; from += INSERT_ROWS) {
      const rows = events.slice(from, from + INSERT_ROWS).map((event) => ({
        type: event.type,
        severity: event.severity ?? 'INFO',
        service: event.service,
        action: event.action,
        actor: line(event.actor ?? context?.actor ?? 'system', 200),
        ip: context?.ip ? line(context.ip, 64) : null,
        target: event.target === undefined || event.target === null ? null : line(event.target, 255),
        message: line(event.message, 2000),
        details: maskDetails(event.details ?? {}) as object,
      }));
      await manager.createQueryBuilder().insert().into(AuditEvent).values(rows).updateEntity(false).execute();
    }
  }

  /** Newest first, with the number of all that match. */
  async list(query: EventQuery): Promise<{ items: AuditEvent[]; total: number }> {
    const found = this.matching(query);
    const [items, total] = await found
      .orderBy('event.at', 'DESC')
      .addOrderBy('event.id', 'DESC')
      .limit(query.limit)
      .offset(query.offset)
      .getManyAndCount();
    return { items, total };
  }

  /** Counts what matches by type, severity and service. */
  async statistics(filter: EventFilter): Promise<EventStatistics> {
    const rows = await this.matching(filter)
      .select('event.type', 'type')
      .addSelect('event.severity', 'severity')
      .addSelect('event.service', 'service')
      .addSelect('count(*)::int', 'count')
      .groupBy('event.type')
      .addGroupBy('event.severity')
      .addGroupBy('event.service')
      .getRawMany<{ type: string; severity: EventSeverity; service: string; count: number }>();
    const counts = { byType: new Map(), bySeverity: new Map(), byService: new Map() } satisfies Record<
      string,
      Map<string, number>
    >;
    let total = 0;
    for (const { type, severity, service, count } of rows) {
      total += count;
      addTo(counts.byType, type, count);
      addTo(counts.bySeverity, severity, count);
      addTo(counts.byService, service, count);
    }
    return {
      total,
      byType: Object.fromEntries(counts.byType),
      bySeverity: { INFO: 0, WARN: 0, ERROR: 0, ...Object.fromEntries(counts.bySeverity) },
      byService: Object.fromEntries(counts.byService),
    };
  }

  private matching(filter: EventFilter): SelectQueryBuilder<AuditEvent> {
    const found = this.dataSource.getRepository(AuditEvent).createQueryBuilder('event');
    if (filter.type !== undefined) found.andWhere('event.type = :type', { type: filter.type });
    if (filter.severity !== undefined) found.andWhere('event.severity = :severity', { severity: filter.severity });
    if (filter.service !== undefined) found.andWhere('event.service = :service', { service: filter.service });
    if (filter.since !== undefined) found.andWhere('event.at >= :since', { since: filter.since });
    if (filter.until !== undefined) found.andWhere('event.at < :until', { until: filter.until });
    return found;
  }

  /**
   * Makes the partitions of this month and the next ones, moves into them what the default partition caught, and drops
   * months that ended more than 400 days ago. Does nothing while another process does it.
   */
  async purge(): Promise<void> {
    const now = this.clock.now();
    const cutOff = new Date(now.getTime() - KEPT_DAYS * DAY_MS);
    await this.dataSource.transaction(async (tx) => {
      // Writers queue behind a lock that is waited for: better to try again tomorrow.
      await tx.query(`SET LOCAL lock_timeout = '5s'`);
      const [lock] = await tx.query<{ free: boolean }[]>(
        `SELECT pg_try_advisory_xact_lock(hashtextextended('causeway/event-partitions', 0)) AS free`,
      );
      if (!lock?.free) return;
      const existing = await tx.query<{ name: string }[]>(
        `SELECT c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
          WHERE i.inhparent = 'events'::regclass AND c.relname ~ '^events_\\d{4}_\\d{2}$'`,
      );
      const present = new Set(existing.map((partition) => partition.name));
      for (const name of present) {
        if (monthAfter(name) <= cutOff) await tx.query(`DROP TABLE ${name}`);
      }
      await tx.query('DELETE FROM events_default WHERE at < $1', [cutOff]);
      const stray = await tx.query<{ month: Date }[]>(
        `SELECT DISTINCT date_trunc('month', at, 'UTC') AS month FROM events_default`,
      );
      const wanted = [...Array(MONTHS_AHEAD + 1).keys()].map((ahead) => monthOf(now, ahead));
      const months = new Map([...wanted, ...stray.map((row) => row.month)].map((month) => [month.getTime(), month]));
      for (const month of months.values()) {
        if (!present.has(partitionName(month))) await makePartition(tx, month);
      }
    });
  }
}

function addTo(counts: Map<string, number>, name: string, count: number): void {
  counts.set(name, (counts.get(name) ?? 0) + count);
}

async function makePartition(tx: EntityManager, month: Date): Promise<void> {
  const name = partitionName(month);
  const [from, to] = [month.toISOString(), monthOf(month, 1).toISOString()];
  await tx.query('LOCK TABLE events_default IN ACCESS EXCLUSIVE MODE');
  await tx.query(`CREATE TABLE ${name} (LIKE events INCLUDING DEFAULTS)`);
  await tx.query(
    `WITH moved AS (DELETE FROM events_default WHERE at >= '${from}' AND at < '${to}' RETURNING *)
     INSERT INTO ${name} SELECT * FROM moved`,
  );
  await tx.query(`ALTER TABLE events ATTACH PARTITION ${name} FOR VALUES FROM ('${from}') TO ('${to}')`);
}

function monthOf(date: Date, ahead: number): Date {
  return new Date(Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + ahead, 1));
}

function partitionName(month: Date): string {
  return `events_${month.toISOString().slice(0, 7).replace('-', '_')}`;
}

/** The first moment that no longer belongs to the partition of this name. */
function monthAfter(name: string): Date {
  return new Date(Date.UTC(Number(name.slice(7, 11)), Number(name.slice(12, 14)), 1));
}

function line(text: string, most: number): string {
  const clean = printable(text);
  return clean.length > most ? `${clean.slice(0, most - 1)}…` : clean;
}
