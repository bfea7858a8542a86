import { randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { InjectDataSource } from '@nestjs/typeorm';
import { DataSource, EntityManager, QueryFailedError } from 'typeorm';
import { Clock } from '../../platform/clock/clock.js';
import { EnginesService } from '../engines/engines.service.js';
import { EventsService } from '../events/events.service.js';
import { SettingsService } from '../settings/settings.service.js';
import { shareLink } from './share-link.js';
import { XRAY_ENGINE, xrayUserKey } from './xray-engine-keys.js';
import { XrayInboundsService } from './xray-inbounds.service.js';
import type { XrayEndedReason } from './xray-user.entity.js';
import { checkedAlias, checkedEmail, checkedTrafficLimit, emailKey } from './xray-user.rules.js';
import {
  xrayInboundMissing,
  xrayServerHostMissing,
  xrayUserExists,
  xrayUserNoUpdate,
  xrayUserNotFound,
  xrayUserUnnamed,
} from './xray.errors.js';

/** How a dialect names a user: by email without regard to case, by the uuid of the moment, or both, which must agree. */
export interface XrayUserRef {
  email?: string | undefined;
  uuid?: string | undefined;
}

export interface NewXrayUser {
  email: string;
  alias?: string | undefined;
  /** Bytes as decimal text; `0`, the default, is unlimited. */
  trafficLimitBytes?: string | undefined;
  /** Off from this second on; null, the default, never. */
  expiresAt?: Date | null | undefined;
  enabled?: boolean | undefined;
  ownerId?: number | null | undefined;
}

/** What may change; what is absent stays. */
export interface XrayUserChange {
  alias?: string | undefined;
  trafficLimitBytes?: string | undefined;
  expiresAt?: Date | null | undefined;
  enabled?: boolean | undefined;
}

/** A user as it stands. Byte counts are decimal text, in the user's directions. */
export interface XrayUserView {
  id: string;
  email: string;
  uuid: string;
  alias: string;
  /** That of the inbound. */
  flow: string;
  /** What the operator wants. */
  enabled: boolean;
  /** It may connect now: wanted, within date and quota. */
  active: boolean;
  endedReason: XrayEndedReason | null;
  trafficLimitBytes: string;
  expiresAt: Date | null;
  createdAt: Date;
  firstSeenAt: Date | null;
  /** The last poll that saw bytes. */
  lastSeenAt: Date | null;
  /** Days (UTC) with traffic. */
  daysUsed: number;
  upBytes: string;
  downBytes: string;
  /** Connections since the user exists, as the access log showed them. */
  conns: number;
  /** It moved bytes within the last half minute or three polls, or the engine names it as connected. */
  online: boolean;
}

/** The users of the proxy engine: who they are, what they may use, and the link they connect with. */
@Injectable()
export class XrayUsersService {
  constructor(
    @InjectDataSource() private readonly dataSource: DataSource,
    private readonly engines: EnginesService,
    private readonly events: EventsService,
    private readonly settings: SettingsService,
    private readonly inbounds: XrayInboundsService,
    private readonly clock: Clock,
  ) {}

  /** All users with what was counted of them, oldest first. */
  async list(): Promise<XrayUserView[]> {
    const rows = await this.select('true', []);
    const flow = await this.inbounds.flow();
    return rows.map((row) => toView(row, flow));
  }

  async count(): Promise<number> {
    const [row] = await this.dataSource.query<[{ count: number }]>(
      'SELECT count(*)::int AS count FROM xray_users WHERE removed_at IS NULL',
    );
    return row.count;
  }

  /** One user; `xray_user_not_found`, `xray_user_unnamed`. */
  async get(ref: XrayUserRef): Promise<XrayUserView> {
    const [condition, values] = byRef(ref);
    const [row] = await this.select(condition, values);
    if (!row) throw notFound(ref);
    return toView(row, await this.inbounds.flow());
  }

  /**
   * Makes a user with a new uuid, and lets it in on the engine. The first one also makes the inbound, as the engine at
   * hand can best do it. Errors: `xray_email_invalid`, `xray_alias_invalid`, `xray_user_limit_invalid`,
   * `xray_user_exists`, `engine_refused`, `engine_unavailable`; after an error there is no such user.
   */
  async create(wanted: NewXrayUser): Promise<XrayUserView> {
    const email = checkedEmail(wanted.email);
    const alias = checkedAlias(wanted.alias ?? '');
    const limit = checkedTrafficLimit(wanted.trafficLimitBytes ?? '0');
    const expiresAt = wanted.expiresAt ?? null;
    const enabled = wanted.enabled ?? true;
    await this.engines.assertUp(XRAY_ENGINE);
    await this.inbounds.ensure();

    const expired = expiresAt !== null && expiresAt.getTime() <= this.clock.nowMs();
    const id = await this.insert(email, alias, limit, expiresAt, enabled, expired, wanted.ownerId ?? null);
    // One that may not connect has nothing to do on the engine.
    if (enabled && !expired) {
      try {
        await this.engines.apply(XRAY_ENGINE, xrayUserKey(id));
      } catch (error) {
        await this.undoCreate(id, email);
        throw error;
      }
    }
    const [row] = await this.select('x.id = $1::uuid', [id]);
    if (!row) throw xrayUserNotFound(email);
    return toView(row, await this.inbounds.flow());
  }

  /**
   * Changes alias, date, quota or the operator's wish. Raising a date or quota lets a user who had ended in again;
   * `enabled: true` alone does not. Errors: `xray_user_not_found`, `xray_user_no_update`, `xray_alias_invalid`,
   * `xray_user_limit_invalid`, `engine_refused`, `engine_unavailable`; after an error all is as it was, but a cut-off
   * stays wanted.
   */
  async update(ref: XrayUserRef, change: XrayUserChange): Promise<XrayUserView> {
    const alias = change.alias === undefined ? null : checkedAlias(change.alias);
    const limit = change.trafficLimitBytes === undefined ? null : checkedTrafficLimit(change.trafficLimitBytes);
    const before = await this.get(ref);
    if (Object.values(change).every((value) => value === undefined)) throw xrayUserNoUpdate();
    const touchesEngine =
      change.enabled !== undefined || change.expiresAt !== undefined || change.trafficLimitBytes !== undefined;
    if (touchesEngine) await this.engines.assertUp(XRAY_ENGINE);

    const changed = await this.dataSource.transaction(async (tx) => {
      const [row] = await tx.query<{ was: PriorState; active: boolean }[]>(UPDATE, [
        before.id,
        change.expiresAt !== undefined,
        change.expiresAt ?? null,
        limit,
        change.enabled ?? null,
        alias,
        this.clock.now(),
      ]);
      if (!row) throw notFound(ref);
      await this.record('user_updated', before.email, `User ${before.email} was changed`, tx, {
        before: row.was,
        after: {
          ...(alias === null ? {} : { alias }),
          ...(change.expiresAt === undefined ? {} : { expiresAt: change.expiresAt?.toISOString() ?? null }),
          ...(limit === null ? {} : { trafficLimitBytes: limit }),
          ...(change.enabled === undefined ? {} : { enabled: change.enabled }),
          active: row.active,
        },
      });
      return row;
    });
    const wasActive = changed.was.enabled && changed.was.ended_reason === null;
    if (wasActive !== changed.active) {
      try {
        await this.engines.apply(XRAY_ENGINE, xrayUserKey(before.id));
      } catch (error) {
        if (changed.active) await this.takeBack(before.id, changed.was);
        throw error;
      }
    }
    return this.get({ uuid: before.uuid });
  }

  /**
   * Takes a user away for good: no new connection from now on, established ones are cut, their last bytes are counted.
   * Errors: `xray_user_not_found`, `engine_unavailable`.
   */
  async remove(ref: XrayUserRef): Promise<void> {
    const [condition, values] = byRef(ref);
    await this.engines.assertUp(XRAY_ENGINE);
    const removed = await this.dataSource.transaction(async (tx) => {
      const [rows] = await tx.query<[{ id: string; email: string }[], number]>(
        `UPDATE xray_users x SET removed_at = $${values.length + 1}
          WHERE ${condition} AND x.removed_at IS NULL RETURNING x.id, x.email`,
        [...values, this.clock.now()],
      );
      const row = rows[0];
      if (!row) throw notFound(ref);
      await this.record('user_removed', row.email, `User ${row.email} was removed`, tx);
      return row;
    });
    await this.engines.apply(XRAY_ENGINE, xrayUserKey(removed.id));
  }

  /**
   * Gives the user a new uuid, and returns it. The old one stops working at once, without a restart; its established
   * connections are cut. Errors: `xray_user_not_found`, `engine_refused`, `engine_unavailable`; after an error the new
   * uuid is not in use, and the old one is let in again.
   */
  async kick(ref: XrayUserRef): Promise<{ uuid: string }> {
    const [condition, values] = byRef(ref);
    await this.engines.assertUp(XRAY_ENGINE);
    const uuid = randomUUID();
    const kicked = await this.dataSource.transaction(async (tx) => {
      const [was] = await tx.query<{ id: string; email: string; uuid: string }[]>(
        `SELECT x.id, x.email, x.uuid FROM xray_users x WHERE ${condition} AND x.removed_at IS NULL FOR UPDATE`,
        values,
      );
      if (!was) throw notFound(ref);
      await tx.query('UPDATE xray_users SET uuid = $2, generation = generation + 1 WHERE id = $1', [was.id, uuid]);
      await this.record('user_kicked', was.email, `User ${was.email} got a new uuid`, tx);
      return was;
    });
    try {
      await this.engines.apply(XRAY_ENGINE, xrayUserKey(kicked.id));
    } catch (error) {
      await this.dataSource.transaction(async (tx) => {
        // Somebody may have kicked again since; that one counts.
        const [rows] = await tx.query<[{ id: string }[], number]>(
          'UPDATE xray_users SET uuid = $3, generation = generation + 1 WHERE id = $1 AND uuid = $2 RETURNING id',
          [kicked.id, uuid, kicked.uuid],
        );
        if (rows.length === 0) return;
        await this.record('user_kick_failed', kicked.email, `User ${kicked.email} has the old uuid again`, tx);
      });
      this.engines.applySoon(XRAY_ENGINE, xrayUserKey(kicked.id));
      throw error;
    }
    return { uuid };
  }

  /** The link that clients import. Errors: `xray_user_not_found`, `xray_server_host_missing`, `xray_inbound_missing`. */
  async link(ref: XrayUserRef): Promise<{ email: string; link: string }> {
    const user = await this.get(ref);
    const inbound = await this.inbounds.find();
    if (!inbound) throw xrayInboundMissing();
    const host = inbound.serverHost || (await this.settings.endpointHost());
    if (!host) throw xrayServerHostMissing();
    return {
      email: user.email,
      link: shareLink({
        protocol: inbound.protocol,
        uuid: user.uuid,
        host,
        port: inbound.serverPort,
        network: inbound.network,
        path: inbound.path,
        security: inbound.security,
        sni: inbound.sni,
        fingerprint: inbound.fp,
        flow: inbound.flow,
        publicKey: inbound.realityPublicKey,
        shortId: inbound.sid,
        remark: user.alias || user.email,
      }),
    };
  }

  private select(condition: string, values: unknown[]): Promise<UserRow[]> {
    return this.dataSource.query<UserRow[]>(
      `SELECT x.id, x.email, x.uuid, x.alias, x.enabled, x.ended_reason, x.traffic_limit_bytes, x.expires_at,
              x.created_at, x.first_seen_at, x.days_used, u.last_handshake_at AS last_seen_at,
              coalesce(u.rx_total, 0) AS up, coalesce(u.tx_total, 0) AS down, coalesce(u.conns_total, 0) AS conns,
              l.subject_id IS NOT NULL AND l.at > $${values.length + 1} AS online
         FROM xray_users x
         LEFT JOIN usage_counters u ON u.subject_id = x.id
         LEFT JOIN xray_live l ON l.subject_id = x.id
        WHERE ${condition} AND x.removed_at IS NULL ORDER BY x.created_at, x.id`,
      [...values, new Date(this.clock.nowMs() - LIVE_STALE_MS)],
    );
  }

  private async insert(
    email: string,
    alias: string,
    limit: string,
    expiresAt: Date | null,
    enabled: boolean,
    expired: boolean,
    ownerId: number | null,
  ): Promise<string> {
    try {
      return await this.dataSource.transaction(async (tx) => {
        const [row] = await tx.query<[{ id: string }]>(
          `INSERT INTO xray_users (email, email_key, uuid, alias, traffic_limit_bytes, expires_at, enabled, ended_reason,
                                   owner_id, created_at)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) RETURNING id`,
          [
            email,
            emailKey(email),
            randomUUID(),
            alias,
            limit,
            expiresAt,
            enabled,
            expired ? 'expired' : null,
            ownerId,
            this.clock.now(),
          ],
        );
        await this.record('user_created', email, `User ${email} was created`, tx, {
          after: { alias, trafficLimitBytes: limit, expiresAt: expiresAt?.toISOString() ?? null, enabled },
        });
        return row.id;
      });
    } catch (error) {
      const constraint =
        error instanceof QueryFailedError ? (error.driverError as { constraint?: string }).constraint : undefined;
      if (constraint === 'xray_users_email_key_key') throw xrayUserExists(email);
      throw error;
    }
  }

  /** A creation that the engine did not take ends like a removal: off the engine first, then the row goes. */
  private async undoCreate(id: string, email: string): Promise<void> {
    await this.dataSource.transaction(async (tx) => {
      await tx.query('UPDATE xray_users SET removed_at = $2 WHERE id = $1', [id, this.clock.now()]);
      await this.record('user_create_failed', email, `User ${email} was not made: the engine did not take it`, tx);
    });
    this.engines.applySoon(XRAY_ENGINE, xrayUserKey(id));
  }

  private async takeBack(id: string, was: PriorState): Promise<void> {
    await this.dataSource.query(
      `UPDATE xray_users SET expires_at = $2, traffic_limit_bytes = $3, enabled = $4, ended_reason = $5, alias = $6
        WHERE id = $1 AND removed_at IS NULL`,
      [id, was.expires_at, was.traffic_limit_bytes, was.enabled, was.ended_reason, was.alias],
    );
    this.engines.applySoon(XRAY_ENGINE, xrayUserKey(id));
  }

  private record(
    action: string,
    email: string,
    message: string,
    tx: EntityManager,
    details: Record<string, unknown> = {},
  ): Promise<void> {
    return this.events.record({ type: 'USER', service: 'xray', action, target: email, message, details }, tx);
  }
}

/** What the owner last published of live users is older: nobody knows who is online. */
export const LIVE_STALE_MS = 120_000;

interface UserRow {
  id: string;
  email: string;
  uuid: string;
  alias: string;
  enabled: boolean;
  ended_reason: XrayEndedReason | null;
  traffic_limit_bytes: string;
  expires_at: Date | null;
  created_at: Date;
  first_seen_at: Date | null;
  last_seen_at: Date | null;
  days_used: number;
  up: string;
  down: string;
  conns: string;
  online: boolean;
}

interface PriorState {
  expires_at: string | null;
  traffic_limit_bytes: string;
  enabled: boolean;
  ended_reason: XrayEndedReason | null;
  alias: string;
}

/** Changes what was given and judges date and quota anew; gives the state before, and whether it may connect now. */
const UPDATE = `
  WITH was AS (
    SELECT x.id, x.expires_at, x.traffic_limit_bytes, x.enabled, x.ended_reason, x.alias,
           CASE WHEN $2 THEN $3::timestamptz ELSE x.expires_at END AS next_expiry,
           coalesce($4::bigint, x.traffic_limit_bytes) AS next_limit,
           coalesce((SELECT u.rx_total + u.tx_total FROM usage_counters u WHERE u.subject_id = x.id), 0) AS used
      FROM xray_users x WHERE x.id = $1 AND x.removed_at IS NULL FOR UPDATE),
  done AS (
    UPDATE xray_users x
       SET expires_at = was.next_expiry, traffic_limit_bytes = was.next_limit,
           enabled = coalesce($5::boolean, x.enabled), alias = coalesce($6, x.alias),
           ended_reason = CASE WHEN was.next_expiry <= $7::timestamptz THEN 'expired'
                               WHEN was.next_limit > 0 AND was.used >= was.next_limit THEN 'limited' END
      FROM was WHERE x.id = was.id
    RETURNING x.enabled AND x.ended_reason IS NULL AS active)
  SELECT jsonb_build_object('expires_at', was.expires_at, 'traffic_limit_bytes', was.traffic_limit_bytes::text,
                            'enabled', was.enabled, 'ended_reason', was.ended_reason, 'alias', was.alias) AS was,
         done.active
    FROM was, done`;

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** The condition on `x`, and its values. A uuid that is none names nobody. */
function byRef(ref: XrayUserRef): [condition: string, values: string[]] {
  if (ref.uuid !== undefined && !UUID.test(ref.uuid)) throw notFound(ref);
  if (ref.email !== undefined && (ref.email.length > 1024 || ref.email.includes('\0'))) throw notFound(ref);
  const email = ref.email === undefined ? null : emailKey(ref.email);
  if (email !== null && ref.uuid !== undefined) return ['x.email_key = $1 AND x.uuid = $2::uuid', [email, ref.uuid]];
  if (email !== null) return ['x.email_key = $1', [email]];
  if (ref.uuid !== undefined) return ['x.uuid = $1::uuid', [ref.uuid]];
  throw xrayUserUnnamed();
}

const notFound = (ref: XrayUserRef) => xrayUserNotFound((ref.email ?? ref.uuid ?? '').slice(0, 255));

function toView(row: UserRow, flow: string): XrayUserView {
  return {
    id: row.id,
    email: row.email,
    uuid: row.uuid,
    alias: row.alias,
    flow,
    enabled: row.enabled,
    active: row.enabled && row.ended_reason === null,
    endedReason: row.ended_reason,
    trafficLimitBytes: row.traffic_limit_bytes,
    expiresAt: row.expires_at,
    createdAt: row.created_at,
    firstSeenAt: row.first_seen_at,
    lastSeenAt: row.last_seen_at,
    daysUsed: row.days_used,
    upBytes: row.up,
    downBytes: row.down,
    conns: Number(row.conns),
    online: row.online,
  };
}
