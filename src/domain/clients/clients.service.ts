import { Injectable } from '@nestjs/common';
import { InjectDataSource } from '@nestjs/typeorm';
import { DataSource, EntityManager, QueryFailedError } from 'typeorm';
import { Clock } from '../../platform/clock/clock.js';
import { SecretBox } from '../../platform/crypto/secret-box.js';
import { generateKeyPair, generatePresharedKey } from '../../platform/crypto/x25519.js';
import { DomainError } from '../domain-error.js';
import { EnginesService } from '../engines/engines.service.js';
import { UndoService } from '../engines/undo.service.js';
import { EventsService } from '../events/events.service.js';
import { refillAddressPool } from '../interfaces/address-pool.js';
import { WIREGUARD_ENGINE } from '../interfaces/interfaces.service.js';
import { ipv6Beside } from '../interfaces/ipv6-range.js';
import { SettingsService } from '../settings/settings.service.js';
import type { EndedReason } from './client.entity.js';
import { renderClientConfig } from './client-config.js';
import { checkedByteLimit, checkedClientName, checkedNote } from './client-rules.js';
import {
  clientExists,
  clientInterfaceMissing,
  clientNoAddress,
  clientNotFound,
  clientNoUpdate,
} from './clients.errors.js';

/** Labels that a client's keys are sealed under. */
export const CLIENT_KEY_LABEL = 'wireguard-client-key';
export const PRESHARED_KEY_LABEL = 'wireguard-preshared-key';

/** A peer whose last handshake is younger has a live session (keys die at 180 s). */
const CONNECTED_WITHIN_MS = 180_000;
const MAX_ALLOCATION_TRIES = 16;

/** The key under which the WireGuard engine applies one client. */
export const clientKey = (id: string): string => `client:${id}`;

/** How a dialect names a client. */
export type ClientRef = { name: string } | { id: string };

export interface NewClient {
  name: string;
  interfaceNumber: number;
  /** Off from this second on; null never. */
  expiresAt: Date | null;
  /** Bytes as decimal text, `0` unlimited. */
  trafficLimitBytes: string;
  note: string;
  ownerId?: number | null;
}

/** What may change; what is absent stays. */
export interface ClientChange {
  expiresAt?: Date | null | undefined;
  trafficLimitBytes?: string | undefined;
  enabled?: boolean | undefined;
  note?: string | undefined;
}

/** A client as it stands, without its keys. Byte counts are the server's and decimal text. */
export interface ClientView {
  id: string;
  name: string;
  interfaceNumber: number;
  address: string;
  publicKey: string;
  note: string;
  trafficLimitBytes: string;
  expiresAt: Date | null;
  createdAt: Date;
  /** It may use the device now: wanted by its operator, within date and quota. */
  active: boolean;
  endedReason: EndedReason | null;
  rxBytes: string;
  txBytes: string;
  latestHandshakeAt: Date | null;
  connected: boolean;
}

export interface ClientWithKey extends ClientView {
  privateKey: string;
}

/** A client just made, with the file its owner needs. */
export interface CreatedClient extends ClientView {
  config: string;
}

interface ClientRow {
  id: string;
  name: string;
  number: number;
  address: string;
  public_key: string;
  note: string;
  traffic_limit_bytes: string;
  expires_at: Date | null;
  created_at: Date;
  enabled: boolean;
  ended_reason: EndedReason | null;
  rx_total: string;
  tx_total: string;
  last_handshake_at: Date | null;
  private_key?: Buffer;
}

const COLUMNS = `c.id, c.name, i.number, host(c.address) AS address, c.public_key, c.note, c.traffic_limit_bytes,
  c.expires_at, c.created_at, c.enabled, c.ended_reason,
  coalesce(u.rx_total, 0) AS rx_total, coalesce(u.tx_total, 0) AS tx_total, u.last_handshake_at`;
const TABLES = `clients c JOIN wireguard_interfaces i ON i.id = c.interface_id
  LEFT JOIN usage_counters u ON u.subject_id = c.id`;

/** The WireGuard clients: who they are, what they may use, and the file they connect with. */
@Injectable()
export class ClientsService {
  constructor(
    @InjectDataSource() private readonly dataSource: DataSource,
    private readonly engines: EnginesService,
    private readonly undo: UndoService,
    private readonly events: EventsService,
    private readonly settings: SettingsService,
    private readonly secrets: SecretBox,
    private readonly clock: Clock,
  ) {}

  /** Clients, oldest first; of one interface when its number is given. */
  async list(interfaceNumber?: number): Promise<ClientView[]> {
    const rows = await this.select('', interfaceNumber);
    const now = this.clock.nowMs();
    return rows.map((row) => toView(row, now));
  }

  /** The same with private keys, for the dialect that shows them. */
  async listWithKeys(): Promise<ClientWithKey[]> {
    const rows = await this.select(', c.private_key');
    const now = this.clock.nowMs();
    return rows.map((row) => this.withKey(row, now));
  }

  async count(): Promise<number> {
    const rows: { count: string }[] = await this.dataSource.query(
      'SELECT count(*) AS count FROM clients WHERE removed_at IS NULL',
    );
    return Number(rows[0]?.count ?? 0);
  }

  /** One client with its private key; `client_not_found`. */
  async get(ref: ClientRef, interfaceNumber?: number): Promise<ClientWithKey> {
    const [condition, value] = byRef(ref);
    const rows: ClientRow[] = await this.dataSource.query(
      `SELECT ${COLUMNS}, c.private_key FROM ${TABLES}
        WHERE ${condition} AND c.removed_at IS NULL AND ($2::int IS NULL OR i.number = $2)`,
      [value, interfaceNumber ?? null],
    );
    const row = rows[0];
    if (!row) throw clientNotFound(value);
    return this.withKey(row, this.clock.nowMs());
  }

  /**
   * Makes a client: key pair, preshared key, the interface's lowest free address, and its peer on the device. Errors:
   * `client_name_invalid`, `client_limit_invalid`, `client_exists`, `client_interface_missing`, `client_no_address`,
   * `engine_refused`, `engine_unavailable`; after an error there is no such client.
   */
  async create(wanted: NewClient): Promise<CreatedClient> {
    const name = checkedClientName(wanted.name);
    const limit = checkedByteLimit(wanted.trafficLimitBytes);
    const note = checkedNote(wanted.note);
    await this.engines.assertUp(WIREGUARD_ENGINE);

    const keys = generateKeyPair();
    const presharedKey = generatePresharedKey();
    const server = await this.serverOf(wanted.interfaceNumber);
    const expired = wanted.expiresAt !== null && wanted.expiresAt.getTime() <= this.clock.nowMs();
    let row: StoredClient | undefined;
    let config: string;
    try {
      row = await this.insert(server, {
        name,
        limit,
        note,
        publicKey: keys.publicKey,
        privateKey: this.secrets.seal(CLIENT_KEY_LABEL, keys.privateKey),
        presharedKey: this.secrets.seal(PRESHARED_KEY_LABEL, presharedKey),
        expiresAt: wanted.expiresAt,
        endedReason: expired ? 'expired' : null,
        ownerId: wanted.ownerId ?? null,
      });
      config = await this.render(server, row, keys.privateKey, presharedKey);
      // One that is past its date already has nothing to do on the device.
      if (!expired) await this.engines.apply(WIREGUARD_ENGINE, clientKey(row.id));
    } catch (error) {
      // A database that dies while it commits may have stored the row all the same.
      const nothingStored = error instanceof DomainError && row === undefined;
      if (!nothingStored) await this.undo.run(`client ${name}`, () => this.undoCreate(keys.publicKey, name));
      throw error;
    }
    return {
      id: row.id,
      name,
      interfaceNumber: wanted.interfaceNumber,
      address: row.address,
      publicKey: keys.publicKey,
      note,
      trafficLimitBytes: limit,
      expiresAt: wanted.expiresAt,
      createdAt: row.createdAt,
      active: !expired,
      endedReason: expired ? 'expired' : null,
      rxBytes: '0',
      txBytes: '0',
      latestHandshakeAt: null,
      connected: false,
      config,
    };
  }

  /**
   * Changes date, quota, note or the operator's wish. Raising a date or quota lets a client that had ended on again;
   * `enabled: true` alone does not. Errors: `client_not_found`, `client_no_update`, `client_limit_invalid`,
   * `client_note_invalid`, `engine_unavailable`; after an error all is as it was, but a cut-off stays wanted.
   */
  async update(ref: ClientRef, change: ClientChange, interfaceNumber?: number): Promise<void> {
    const limit = change.trafficLimitBytes === undefined ? undefined : checkedByteLimit(change.trafficLimitBytes);
    const note = change.note === undefined ? undefined : checkedNote(change.note);
    const before = await this.get(ref, interfaceNumber);
    if (Object.values(change).every((value) => value === undefined)) throw clientNoUpdate();
    const touchesDevice =
      change.enabled !== undefined || change.expiresAt !== undefined || change.trafficLimitBytes !== undefined;
    if (touchesDevice) await this.engines.assertUp(WIREGUARD_ENGINE);

    const wanted: ClientChange = { ...change, trafficLimitBytes: limit, note };
    const changed = await this.dataSource.transaction(async (tx) => {
      const row = await this.write(before.id, wanted, tx);
      if (!row) throw clientNotFound(before.name);
      await this.record('client_updated', before.name, `Client ${before.name} was changed`, tx, {
        before: { ...only(row.was, wanted), active: row.wasActive },
        after: { ...wanted, active: row.active },
      });
      return row;
    });
    // Whoever repeats a cut-off that failed hears how it stands now.
    if (changed.wasActive === changed.active && (changed.active || change.enabled !== false)) return;

    try {
      await this.engines.apply(WIREGUARD_ENGINE, clientKey(before.id));
    } catch (error) {
      if (changed.active) {
        await this.undo.run(`client ${before.name}`, () => this.undoUpdate(before, wanted, changed.was));
      }
      throw error;
    }
  }

  /** Takes a client away for good. Its traffic stops before this returns. `client_not_found`, `engine_unavailable`. */
  async remove(ref: ClientRef, interfaceNumber?: number): Promise<void> {
    const [condition, value] = byRef(ref);
    await this.engines.assertUp(WIREGUARD_ENGINE);
    const removed = await this.dataSource.transaction(async (tx) => {
      const [rows]: [{ id: string; name: string }[], number] = await tx.query(
        `UPDATE clients c SET removed_at = now() FROM wireguard_interfaces i
          WHERE i.id = c.interface_id AND ${condition} AND c.removed_at IS NULL AND ($2::int IS NULL OR i.number = $2)
        RETURNING c.id, c.name`,
        [value, interfaceNumber ?? null],
      );
      const row = rows[0];
      if (!row) throw clientNotFound(value);
      await this.record('client_removed', row.name, `Client ${row.name} was removed`, tx);
      return row;
    });
    await this.engines.apply(WIREGUARD_ENGINE, clientKey(removed.id));
  }

  /** The client's config file, rendered from the settings of this moment. `client_not_found`. */
  async config(ref: ClientRef, interfaceNumber?: number): Promise<{ name: string; config: string }> {
    const [condition, value] = byRef(ref);
    const rows: {
      name: string;
      address: string;
      ipv6_address: string | null;
      number: number;
      private_key: Buffer;
      preshared_key: Buffer;
    }[] = await this.dataSource.query(
      `SELECT c.name, host(c.address) AS address, host(${ipv6Beside('c.address')}) AS ipv6_address, i.number,
              c.private_key, c.preshared_key
         FROM clients c JOIN wireguard_interfaces i ON i.id = c.interface_id
        WHERE ${condition} AND c.removed_at IS NULL AND ($2::int IS NULL OR i.number = $2)`,
      [value, interfaceNumber ?? null],
    );
    const row = rows[0];
    if (!row) throw clientNotFound(value);
    const config = await this.render(
      await this.serverOf(row.number),
      { address: row.address, ipv6Address: row.ipv6_address },
      this.secrets.open(CLIENT_KEY_LABEL, row.private_key),
      this.secrets.open(PRESHARED_KEY_LABEL, row.preshared_key),
    );
    return { name: row.name, config };
  }

  private async select(extra: string, interfaceNumber?: number): Promise<ClientRow[]> {
    return this.dataSource.query(
      `SELECT ${COLUMNS}${extra} FROM ${TABLES}
        WHERE c.removed_at IS NULL AND ($1::int IS NULL OR i.number = $1) ORDER BY c.created_at, c.id`,
      [interfaceNumber ?? null],
    );
  }

  private withKey(row: ClientRow, now: number): ClientWithKey {
    const view = toView(row, now) as ClientWithKey;
    view.privateKey = row.private_key ? this.secrets.open(CLIENT_KEY_LABEL, row.private_key) : '';
    return view;
  }

  private async serverOf(number: number): Promise<ServerSide> {
    const rows: ServerSide[] = await this.dataSource.query(
      `SELECT id, number, public_key AS "publicKey", listen_port AS "listenPort"
         FROM wireguard_interfaces WHERE number = $1`,
      [number],
    );
    if (!rows[0]) throw clientInterfaceMissing(number);
    return rows[0];
  }

  /** Takes the lowest free address and stores the row in one statement; fills the pool and tries again when empty. */
  private async insert(server: ServerSide, row: InsertRow): Promise<StoredClient> {
    for (let tries = 0; tries < MAX_ALLOCATION_TRIES; tries += 1) {
      const stored = await this.tryInsert(server, row);
      if (stored) return stored;
      if (!(await refillAddressPool(this.dataSource.manager, server.id))) break;
    }
    throw clientNoAddress();
  }

  private async tryInsert(server: ServerSide, row: InsertRow): Promise<StoredClient | null> {
    try {
      return await this.dataSource.transaction(async (tx) => {
        const rows: StoredClient[] = await tx.query(INSERT, [
          server.id,
          row.ownerId,
          row.name,
          row.publicKey,
          row.privateKey,
          row.presharedKey,
          row.note,
          row.limit,
          row.expiresAt,
          row.endedReason,
        ]);
        const stored = rows[0];
        if (!stored) return null;
        await this.record('client_created', row.name, `Client ${row.name} was created`, tx, {
          after: { address: stored.address, expiresAt: row.expiresAt?.toISOString() ?? null, limitBytes: row.limit },
        });
        return stored;
      });
    } catch (error) {
      const constraint =
        error instanceof QueryFailedError ? (error.driverError as { constraint?: string }).constraint : undefined;
      if (constraint === 'clients_name_key') throw clientExists(row.name);
      if (constraint === 'clients_interface_id_fkey') throw clientInterfaceMissing(server.number);
      throw error;
    }
  }

  /** A creation that failed ends like a removal: off the device first, then the address is free. */
  private async undoCreate(publicKey: string, name: string): Promise<void> {
    const id = await this.dataSource.transaction(async (tx) => {
      const [rows]: [{ id: string }[], number] = await tx.query(
        'UPDATE clients SET removed_at = now() WHERE public_key = $1 AND removed_at IS NULL RETURNING id',
        [publicKey],
      );
      if (rows[0]) await this.record('client_create_failed', name, `Client ${name} was not made after all`, tx);
      return rows[0]?.id;
    });
    if (id !== undefined) this.engines.applySoon(WIREGUARD_ENGINE, clientKey(id));
  }

  /** Sets what is given and judges date and quota anew; null when there is no such client. */
  private async write(
    id: string,
    change: ClientChange,
    tx: EntityManager,
  ): Promise<{ was: ClientState; wasActive: boolean; active: boolean } | null> {
    const rows: { was: PriorState; active: boolean }[] = await tx.query(UPDATE, [
      id,
      change.expiresAt !== undefined,
      change.expiresAt ?? null,
      change.trafficLimitBytes ?? null,
      change.enabled ?? null,
      change.note ?? null,
      this.clock.now(),
    ]);
    if (!rows[0]) return null;
    const { was, active } = rows[0];
    return {
      was: {
        expiresAt: was.expires_at === null ? null : new Date(was.expires_at),
        trafficLimitBytes: was.traffic_limit_bytes,
        enabled: was.enabled,
        note: was.note,
      },
      wasActive: was.enabled && was.ended_reason === null,
      active,
    };
  }

  /** Puts back what the device did not follow, but for what somebody changed again since: their word is the newer one. */
  private async undoUpdate(client: ClientView, tried: ClientChange, was: ClientState): Promise<void> {
    await this.dataSource.transaction(async (tx) => {
      // A change of nothing says how it stands, and locks the row.
      const now = (await this.write(client.id, {}, tx))?.was;
      if (!now) return;
      const stillThere = Object.keys(tried).filter((key) => {
        const field = key as keyof ClientState;
        return tried[field] !== undefined && JSON.stringify(now[field]) === JSON.stringify(tried[field]);
      });
      const back: ClientChange = Object.fromEntries(stillThere.map((key) => [key, was[key as keyof ClientState]]));
      await this.write(client.id, back, tx);
      const message = `Client ${client.name} could not be let on and is as it was`;
      await this.record('client_update_failed', client.name, message, tx, { after: back });
    });
    this.engines.applySoon(WIREGUARD_ENGINE, clientKey(client.id));
  }

  private async render(
    server: ServerSide,
    { address, ipv6Address }: Pick<StoredClient, 'address' | 'ipv6Address'>,
    privateKey: string,
    psk: string,
  ): Promise<string> {
    const values = await this.settings.getAll('dns', 'mtu', 'ipv6', 'allowed_ips', 'persistent_keepalive');
    return renderClientConfig({
      privateKey,
      addresses: values.ipv6 && ipv6Address !== null ? [address, ipv6Address] : [address],
      dns: values.dns.join(', '),
      mtu: values.mtu,
      serverPublicKey: server.publicKey,
      presharedKey: psk,
      endpointHost: (await this.settings.endpointHost()) ?? '',
      endpointPort: server.listenPort,
      allowedIps: values.allowed_ips.join(', '),
      persistentKeepalive: values.persistent_keepalive,
    });
  }

  private record(
    action: string,
    name: string,
    message: string,
    tx: EntityManager,
    details: Record<string, unknown> = {},
  ): Promise<void> {
    return this.events.record({ type: 'CLIENT', service: 'wireguard', action, target: name, message, details }, tx);
  }
}

interface ServerSide {
  id: number;
  number: number;
  publicKey: string;
  listenPort: number;
}

interface InsertRow {
  name: string;
  limit: string;
  note: string;
  publicKey: string;
  privateKey: Buffer;
  presharedKey: Buffer;
  expiresAt: Date | null;
  endedReason: EndedReason | null;
  ownerId: number | null;
}

/** What the database gives a new client. */
interface StoredClient {
  id: string;
  address: string;
  ipv6Address: string | null;
  createdAt: Date;
}

/** What a change may touch, as it stood. */
type ClientState = { [K in keyof ClientChange]-?: Exclude<ClientChange[K], undefined> };

interface PriorState {
  expires_at: string | null;
  traffic_limit_bytes: string;
  enabled: boolean;
  ended_reason: EndedReason | null;
  note: string;
}

const INSERT = `
  WITH taken AS (
    DELETE FROM free_addresses
     WHERE (interface_id, address) = (
       SELECT interface_id, address FROM free_addresses
        WHERE interface_id = $1 ORDER BY address LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING address),
  made AS (
    INSERT INTO clients (interface_id, owner_id, name, address, public_key, private_key, preshared_key, note,
                         traffic_limit_bytes, expires_at, ended_reason)
    SELECT $1, $2::int, $3, taken.address, $4, $5::bytea, $6::bytea, $7, $8::bigint, $9::timestamptz, $10::varchar
      FROM taken
    RETURNING id, address, created_at)
  SELECT made.id, host(made.address) AS address, host(${ipv6Beside('made.address')}) AS "ipv6Address",
         made.created_at AS "createdAt"
    FROM made JOIN wireguard_interfaces i ON i.id = $1`;

/** Of `state`, the fields that `change` changes. */
function only(state: ClientState, change: ClientChange): ClientChange {
  const changed = Object.entries(state).filter(([key]) => change[key as keyof ClientChange] !== undefined);
  return Object.fromEntries(changed);
}

/** Changes what was given and judges date and quota anew; gives the state before, and whether it may connect now. */
const UPDATE = `
  WITH was AS (
    SELECT c.id, c.expires_at, c.traffic_limit_bytes, c.enabled, c.ended_reason, c.note,
           CASE WHEN $2 THEN $3::timestamptz ELSE c.expires_at END AS next_expiry,
           coalesce($4::bigint, c.traffic_limit_bytes) AS next_limit,
           coalesce((SELECT u.rx_total + u.tx_total FROM usage_counters u WHERE u.subject_id = c.id), 0) AS used
      FROM clients c WHERE c.id = $1 AND c.removed_at IS NULL FOR UPDATE),
  done AS (
    UPDATE clients c
       SET expires_at = was.next_expiry, traffic_limit_bytes = was.next_limit,
           enabled = coalesce($5::boolean, c.enabled), note = coalesce($6, c.note),
           ended_reason = CASE WHEN was.next_expiry <= $7::timestamptz THEN 'expired'
                               WHEN was.next_limit > 0 AND was.used >= was.next_limit THEN 'limited' END
      FROM was WHERE c.id = was.id
    RETURNING c.enabled AND c.ended_reason IS NULL AS active)
  SELECT to_jsonb(was) - 'traffic_limit_bytes' || jsonb_build_object('traffic_limit_bytes', was.traffic_limit_bytes::text)
           AS was, done.active
    FROM was, done`;

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** The condition on `c` for parameter $1, and its value. An id that is no UUID names nobody. */
function byRef(ref: ClientRef): [condition: string, value: string] {
  if ('name' in ref) return ['c.name = $1', ref.name.normalize('NFC')];
  if (!UUID.test(ref.id)) throw clientNotFound(ref.id);
  return ['c.id = $1::uuid', ref.id];
}

function toView(row: ClientRow, now: number): ClientView {
  const active = row.enabled && row.ended_reason === null;
  return {
    id: row.id,
    name: row.name,
    interfaceNumber: row.number,
    address: row.address,
    publicKey: row.public_key,
    note: row.note,
    trafficLimitBytes: row.traffic_limit_bytes,
    expiresAt: row.expires_at,
    createdAt: row.created_at,
    active,
    endedReason: row.ended_reason,
    rxBytes: row.rx_total,
    txBytes: row.tx_total,
    latestHandshakeAt: row.last_handshake_at,
    connected: active && row.last_handshake_at !== null && now - row.last_handshake_at.getTime() < CONNECTED_WITHIN_MS,
  };
}
