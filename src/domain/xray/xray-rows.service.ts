import { join } from 'node:path';
import { Injectable } from '@nestjs/common';
import { InjectDataSource } from '@nestjs/typeorm';
import ipaddr from 'ipaddr.js';
import { DataSource, type EntityManager } from 'typeorm';
import { Clock } from '../../platform/clock/clock.js';
import { Config } from '../../platform/config/config.js';
import { SecretBox } from '../../platform/crypto/secret-box.js';
import { EventsService } from '../events/events.service.js';
import { SettingsService } from '../settings/settings.service.js';
import { kindSubject, USAGE_KINDS } from '../usage/usage-kinds.js';
import { UsageService, type UsageReading } from '../usage/usage.service.js';
import type { LogMark } from './access-log.tail.js';
import type { InboundSpec, ProxyCertificate, ProxyFlow } from './proxy-engine.port.js';
import { XrayInbound } from './xray-inbound.entity.js';
import { REALITY_KEY_LABEL, TLS_KEY_LABEL } from './xray-inbounds.service.js';

const MOST_DOMAINS = 50;
const MOST_DOMAINS_TOGETHER = 500;
const DOMAINS_KEPT_DAYS = 100;
const MINUTES_KEPT_DAYS = 3;

/** The inbound as its row wants it. Who may connect is added from the users. */
export interface WantedInbound extends Omit<InboundSpec, 'users'> {
  flow: ProxyFlow;
  restartToCut: boolean;
  /** Private addresses of this server that its links or settings name. */
  ownAddresses: string[];
}

/** A user as its row wants it. */
export interface WantedUser {
  userId: string;
  email: string;
  uuid: string;
  generation: number;
  /** It may connect. */
  active: boolean;
  /** It is being removed for good. */
  removed: boolean;
}

/** Somebody whom the poll just found past date or quota. */
export interface EndedUser {
  userId: string;
  email: string;
}

export interface CollectorRow {
  enabled: boolean;
  log: LogMark;
}

/** Connections and estimated bytes of one user, day and domain. */
export interface DomainCount {
  userId: string;
  day: string;
  domain: string;
  conns: number;
  bytes: number;
}

/** Somebody who is online now. */
export interface LiveRow {
  subject_id: string;
  /** Bytes a second. */
  up_rate: number;
  down_rate: number;
  /** Bytes and connections of the last minute. */
  bytes: number;
  conns: number;
  addresses: string[];
}

/** All that one poll has to write. */
export interface Collection {
  epoch: number;
  readings: UsageReading[];
  /** Connections since the last one, by user. */
  conns: ReadonlyMap<string, number>;
  domains: DomainCount[];
  /** Who moved bytes and was not seen today before. */
  usedToday: string[];
  /** Null: who is online is not known yet, and what stands there stays. */
  live: { users: LiveRow[]; whole: LiveRow } | null;
  /** Null: the log was not read. */
  log: LogMark | null;
}

/** What the engine knows a user by: it changes with the uuid, so that the connections of both can be told apart. */
export const engineIdOf = (user: Pick<WantedUser, 'userId' | 'generation'>): string =>
  `${user.userId}-${user.generation}`;

const ENGINE_ID = /^([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})-\d{1,10}$/;

/** Whose id on the engine it is; null for one that is not of our making. */
export const userIdOf = (engineId: string): string | null => ENGINE_ID.exec(engineId)?.[1] ?? null;

/** What the database wants of the proxy engine, and what the engine writes back: every statement of it. */
@Injectable()
export class XrayRowsService {
  constructor(
    @InjectDataSource() private readonly dataSource: DataSource,
    private readonly config: Config,
    private readonly secrets: SecretBox,
    private readonly settings: SettingsService,
    private readonly usage: UsageService,
    private readonly events: EventsService,
    private readonly clock: Clock,
  ) {}

  /** Where the engine writes who connected. */
  get accessLogPath(): string {
    return join(this.config.dataDir, 'xray', 'access.log');
  }

  async inbound(): Promise<WantedInbound | null> {
    const row = await this.dataSource.getRepository(XrayInbound).findOneBy({ id: 1 });
    if (!row) return null;
    const { server_ip: ip, custom_endpont: endpoint } = await this.settings.getAll('server_ip', 'custom_endpont');
    const hosts = [row.serverHost, endpoint, ip].filter((host) => host !== null);
    return {
      tag: row.inboundTag,
      listen: '0.0.0.0',
      port: row.serverPort,
      protocol: row.protocol,
      network: row.network,
      path: row.path,
      host: '',
      security: row.security,
      certificate: row.security === 'tls' ? this.certificateOf(row) : null,
      reality:
        row.security === 'reality'
          ? {
              privateKey: this.secrets.open(REALITY_KEY_LABEL, row.realityPrivateKey),
              dest: row.dest,
              serverNames: [row.sni],
              shortIds: [row.sid],
            }
          : null,
      flow: row.flow,
      restartToCut: row.restartToCut,
      ownAddresses: [...new Set(hosts.filter(liesBehindNat))],
    };
  }

  /** All users, those being removed included, or those with the given ids. */
  async users(ids?: string[]): Promise<WantedUser[]> {
    return this.dataSource.query<WantedUser[]>(
      `SELECT id AS "userId", email, uuid, generation, removed_at IS NOT NULL AS removed,
              enabled AND ended_reason IS NULL AND removed_at IS NULL AS active
         FROM xray_users WHERE $1::uuid[] IS NULL OR id = ANY ($1)`,
      [ids ?? null],
    );
  }

  async collector(): Promise<CollectorRow> {
    const [row] = await this.dataSource.query<
      { collector_enabled: boolean; log_inode: string | null; log_position: string }[]
    >('SELECT collector_enabled, log_inode, log_position FROM xray_settings WHERE id = 1');
    return {
      enabled: row?.collector_enabled ?? true,
      log: { inode: row?.log_inode ?? null, position: Number(row?.log_position ?? 0) },
    };
  }

  /** What the counters of the engine showed when they were last booked, by user. */
  async lastReadings(): Promise<Map<string, { epoch: number; up: number; down: number }>> {
    const rows = await this.dataSource.query<{ id: string; epoch: string; rx_last: string; tx_last: string }[]>(
      `SELECT x.id, u.epoch, u.rx_last, u.tx_last FROM xray_users x JOIN usage_counters u ON u.subject_id = x.id`,
    );
    return new Map(
      rows.map((row) => [row.id, { epoch: Number(row.epoch), up: Number(row.rx_last), down: Number(row.tx_last) }]),
    );
  }

  /** Users whom a restore brought back after their books were closed, and whom nobody has read since. */
  async revived(): Promise<string[]> {
    const rows = await this.dataSource.query<{ id: string }[]>(
      `SELECT x.id FROM xray_users x JOIN usage_counters u ON u.subject_id = x.id
        WHERE u.epoch = 0 AND u.rx_total + u.tx_total > 0`,
    );
    return rows.map((row) => row.id);
  }

  /** The addresses of those who were online when somebody last looked. */
  async lastAddresses(): Promise<{ userId: string; addresses: string[] }[]> {
    const rows = await this.dataSource.query<{ subject_id: string; addresses: string[] }[]>(
      'SELECT subject_id, addresses FROM xray_live WHERE subject_id <> $1',
      [kindSubject('xray')],
    );
    return rows.map((row) => ({ userId: row.subject_id, addresses: row.addresses }));
  }

  /** Marks users past date or quota as ended, with an event for each. */
  async endDue(): Promise<EndedUser[]> {
    return this.dataSource.transaction(async (tx) => {
      const [rows] = await tx.query<[{ id: string; email: string; ended_reason: 'expired' | 'limited' }[], number]>(
        `UPDATE xray_users x
            SET ended_reason = CASE WHEN x.expires_at <= $1::timestamptz THEN 'expired' ELSE 'limited' END
          WHERE x.id IN (
                SELECT id FROM xray_users
                 WHERE expires_at <= $1::timestamptz AND ended_reason IS NULL AND removed_at IS NULL
                UNION ALL
                SELECT q.id FROM xray_users q JOIN usage_counters u ON u.subject_id = q.id
                 WHERE q.traffic_limit_bytes > 0 AND q.ended_reason IS NULL AND q.removed_at IS NULL
                   AND u.rx_total + u.tx_total >= q.traffic_limit_bytes)
        RETURNING x.id, x.email, x.ended_reason`,
        [this.clock.now()],
      );
      await this.events.recordAll(
        rows.map((row) => ({
          type: 'USER',
          severity: 'WARN',
          service: 'xray',
          action: `user_${row.ended_reason}`,
          target: row.email,
          message: `User ${row.email} was cut off: ${REASONS[row.ended_reason]}`,
        })),
        tx,
      );
      return rows.map((row) => ({ userId: row.id, email: row.email }));
    });
  }

  /** Deletes the rows of removed users whose last bytes are booked, and ends their books. */
  async finishRemovals(userIds: string[]): Promise<void> {
    if (userIds.length === 0) return;
    await this.dataSource.transaction(async (tx) => {
      const [rows] = await tx.query<[{ id: string }[], number]>(
        'DELETE FROM xray_users WHERE id = ANY ($1::uuid[]) AND removed_at IS NOT NULL RETURNING id',
        [userIds],
      );
      const ids = rows.map((row) => row.id);
      await tx.query('DELETE FROM xray_live WHERE subject_id = ANY ($1::uuid[])', [ids]);
      await this.usage.retire(ids, this.clock.now(), tx);
    });
  }

  /** Writes what a poll saw, all of it or nothing. */
  async collect(collection: Collection): Promise<void> {
    const now = this.clock.now();
    await this.dataSource.transaction(async (tx) => {
      await this.writeDomains(collection.domains, tx);
      await this.writeDays(collection.usedToday, now, tx);
      if (collection.live) await this.writeLive(collection.live.users, collection.live.whole, now, tx);
      await tx.query(
        `UPDATE xray_settings SET collected_at = $1, log_inode = CASE WHEN $2 THEN $3 ELSE log_inode END,
                log_position = CASE WHEN $2 THEN $4::bigint ELSE log_position END
          WHERE id = 1`,
        [now, collection.log !== null, collection.log?.inode ?? null, collection.log?.position ?? 0],
      );
      // Others who write to the ledger wait from here on.
      await this.usage.book('xray', collection.epoch, collection.readings, tx);
      await this.usage.countConnections('xray', collection.conns, tx);
    });
  }

  /** Nobody is known to be online any more. */
  async clearLive(): Promise<void> {
    await this.dataSource.query('DELETE FROM xray_live');
  }

  /** Takes away what is past keeping: domains of users after 100 days, minutes after three. Those of all stay. */
  async purge(): Promise<void> {
    const before = (days: number) => new Date(this.clock.nowMs() - days * 86_400_000);
    await this.dataSource.query('DELETE FROM xray_domains WHERE day < $1::date AND user_id <> $2', [
      before(DOMAINS_KEPT_DAYS).toISOString().slice(0, 10),
      kindSubject('xray'),
    ]);
    await this.dataSource.query('DELETE FROM xray_minutes WHERE at < $1', [before(MINUTES_KEPT_DAYS)]);
  }

  /** Ends the books of users whose rows a restore took away. */
  async retireStrays(): Promise<void> {
    await this.dataSource.transaction(async (tx) => {
      // Nobody may come back while it is looked who is gone.
      await tx.query('LOCK TABLE xray_users IN SHARE MODE');
      const rows = await tx.query<{ subject_id: string }[]>(
        `SELECT subject_id FROM usage_counters u WHERE kind = $1 AND subject_id <> $2
            AND NOT EXISTS (SELECT 1 FROM xray_users x WHERE x.id = u.subject_id)`,
        [USAGE_KINDS.xray, kindSubject('xray')],
      );
      await this.usage.retire(
        rows.map((row) => row.subject_id),
        this.clock.now(),
        tx,
      );
    });
  }

  private certificateOf(row: XrayInbound): ProxyCertificate {
    if (row.certificateFile !== '') return { certificateFile: row.certificateFile, keyFile: row.keyFile };
    return {
      certificatePem: row.certificatePem,
      keyPem: row.keyPem === null ? '' : this.secrets.open(TLS_KEY_LABEL, row.keyPem),
    };
  }

  private async writeDomains(counts: readonly DomainCount[], tx: EntityManager): Promise<void> {
    if (counts.length === 0) return;
    const together = new Map<string, DomainCount>();
    for (const count of counts) {
      const key = `${count.day} ${count.domain}`;
      const sum = together.get(key) ?? { ...count, userId: kindSubject('xray'), conns: 0, bytes: 0 };
      sum.conns += count.conns;
      sum.bytes += count.bytes;
      together.set(key, sum);
    }
    const rows = [...counts, ...together.values()];
    await tx.query(DOMAINS, [
      rows.map((row) => row.day),
      rows.map((row) => row.userId),
      rows.map((row) => row.domain),
      rows.map((row) => row.conns),
      rows.map((row) => row.bytes),
      kindSubject('xray'),
      MOST_DOMAINS,
      MOST_DOMAINS_TOGETHER,
    ]);
  }

  private async writeDays(userIds: string[], now: Date, tx: EntityManager): Promise<void> {
    if (userIds.length === 0) return;
    await tx.query(
      `UPDATE xray_users SET first_seen_at = coalesce(first_seen_at, $2), last_used_on = $3::date, days_used = days_used + 1
        WHERE id = ANY ($1::uuid[]) AND last_used_on IS DISTINCT FROM $3::date`,
      [userIds, now, now.toISOString().slice(0, 10)],
    );
  }

  private async writeLive(users: LiveRow[], whole: LiveRow, now: Date, tx: EntityManager): Promise<void> {
    await tx.query(
      `WITH live AS (
         SELECT * FROM jsonb_to_recordset($1::jsonb)
                    AS l (subject_id uuid, up_rate bigint, down_rate bigint, bytes bigint, conns int, addresses jsonb)
       ), gone AS (
         DELETE FROM xray_live WHERE subject_id NOT IN (SELECT subject_id FROM live)
       )
       INSERT INTO xray_live (subject_id, at, up_rate, down_rate, bytes, conns, addresses)
       SELECT subject_id, $2, up_rate, down_rate, bytes, conns, addresses FROM live
       ON CONFLICT (subject_id) DO UPDATE
       SET at = excluded.at, up_rate = excluded.up_rate, down_rate = excluded.down_rate, bytes = excluded.bytes,
           conns = excluded.conns, addresses = excluded.addresses`,
      [JSON.stringify([...users, whole]), now],
    );
    await tx.query(
      `INSERT INTO xray_minutes AS m (at, online_users) VALUES (date_trunc('minute', $1::timestamptz), $2)
       ON CONFLICT (at) DO UPDATE SET online_users = excluded.online_users WHERE excluded.online_users > m.online_users`,
      [now, users.length],
    );
  }
}

/** An address behind NAT, which clients reach only when it is let through by name; public ones they reach anyway. */
function liesBehindNat(host: string): boolean {
  return ipaddr.isValid(host) && ['private', 'uniqueLocal', 'carrierGradeNat'].includes(ipaddr.process(host).range());
}

const REASONS = { expired: 'its date has passed', limited: 'its traffic is used up' } as const;

/** A user and day has room for so many domains ($7, all users together $8); what comes after them is `other`. */
const DOMAINS = `
  WITH incoming AS (
    SELECT * FROM unnest($1::date[], $2::uuid[], $3::text[], $4::bigint[], $5::bigint[])
               AS i (day, user_id, domain, conns, bytes)
  ), held AS (
    SELECT i.day, i.user_id, count(d.domain) AS domains
      FROM (SELECT DISTINCT day, user_id FROM incoming) i
      LEFT JOIN xray_domains d ON d.day = i.day AND d.user_id = i.user_id AND d.domain <> 'other'
     GROUP BY 1, 2
  ), placed AS (
    SELECT i.*, d.domain IS NOT NULL OR i.domain = 'other' AS known, h.domains,
           row_number() OVER (PARTITION BY i.day, i.user_id, d.domain IS NULL AND i.domain <> 'other'
                              ORDER BY i.conns DESC, i.domain) AS place
      FROM incoming i
      JOIN held h ON h.day = i.day AND h.user_id = i.user_id
      LEFT JOIN xray_domains d ON d.day = i.day AND d.user_id = i.user_id AND d.domain = i.domain
  ), kept AS (
    SELECT day, user_id, sum(conns) AS conns, sum(bytes) AS bytes,
           CASE WHEN known OR domains + place <= CASE WHEN user_id = $6 THEN $8::int ELSE $7::int END
                THEN domain ELSE 'other' END AS domain
      FROM placed GROUP BY day, user_id, 5
  )
  INSERT INTO xray_domains AS x (day, user_id, domain, conns, bytes)
  SELECT day, user_id, domain, conns, bytes FROM kept
  ON CONFLICT (day, user_id, domain) DO UPDATE SET conns = x.conns + excluded.conns, bytes = x.bytes + excluded.bytes`;
