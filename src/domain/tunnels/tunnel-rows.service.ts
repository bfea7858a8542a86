import { Injectable } from '@nestjs/common';
import { InjectDataSource } from '@nestjs/typeorm';
import { DataSource } from 'typeorm';
import { Clock } from '../../platform/clock/clock.js';
import { SecretBox } from '../../platform/crypto/secret-box.js';
import { PRESHARED_KEY_LABEL } from '../clients/clients.service.js';
import { EventsService } from '../events/events.service.js';
import { INTERFACE_KEY_LABEL, interfaceName } from '../interfaces/interfaces.service.js';
import { ipv6Beside } from '../interfaces/ipv6-range.js';
import { SettingsService } from '../settings/settings.service.js';
import { kindSubject, USAGE_KINDS } from '../usage/usage-kinds.js';
import { UsageService } from '../usage/usage.service.js';
import type { DeviceSpec } from './tunnel.port.js';
import type { WantedPeer } from './wanted-peers.js';

/** A device as its row wants it. */
export interface WantedDevice {
  interfaceId: number;
  name: string;
  publicKey: string;
  /** The networks of its clients, IPv4 first. */
  ranges: string[];
  enabled: boolean;
  restartedAt: Date;
  spec: DeviceSpec;
}

/** A client's peer with the interface it belongs to, and whether the client is being removed for good. */
export interface WantedClient extends WantedPeer {
  interfaceId: number;
  removed: boolean;
}

/** A device of ours that no row wants any more. */
export interface RetiredDevice {
  number: number;
  name: string;
  publicKey: string;
}

/** Somebody whom sync just found past date or quota. */
export interface EndedClient {
  clientId: string;
  name: string;
  reason: 'expired' | 'limited';
}

interface ClientRow {
  id: string;
  interface_id: number;
  public_key: string;
  preshared_key: Buffer;
  address: string;
  ipv6_address: string | null;
  active: boolean;
  removed: boolean;
}

const REASONS = { expired: 'its date has passed', limited: 'its traffic is used up' } as const;

/** What the database wants of tunnels, and what the engine writes back: every statement of this module. */
@Injectable()
export class TunnelRowsService {
  constructor(
    @InjectDataSource() private readonly dataSource: DataSource,
    private readonly secrets: SecretBox,
    private readonly settings: SettingsService,
    private readonly usage: UsageService,
    private readonly events: EventsService,
    private readonly clock: Clock,
  ) {}

  /** All interfaces, or those with the given ids. */
  async devices(ids?: number[]): Promise<WantedDevice[]> {
    const rows: {
      id: number;
      number: number;
      address: string;
      range: string;
      ipv6_address: string | null;
      ipv6_range: string | null;
      listen_port: number;
      private_key: Buffer;
      public_key: string;
      enabled: boolean;
      restarted_at: Date;
    }[] = await this.dataSource.query(
      `SELECT id, number, text(address) AS address, range, text(${ipv6Beside('i.address')}) AS ipv6_address, ipv6_range,
              listen_port, private_key, public_key, enabled, restarted_at
         FROM wireguard_interfaces i WHERE $1::int[] IS NULL OR id = ANY($1) ORDER BY number`,
      [ids ?? null],
    );
    const { mtu, ipv6 } = await this.settings.getAll('mtu', 'ipv6');
    return rows.map((row) => ({
      interfaceId: row.id,
      name: interfaceName(row.number),
      publicKey: row.public_key,
      ranges: ipv6 && row.ipv6_range !== null ? [row.range, row.ipv6_range] : [row.range],
      enabled: row.enabled,
      restartedAt: row.restarted_at,
      spec: {
        name: interfaceName(row.number),
        privateKey: this.secrets.open(INTERFACE_KEY_LABEL, row.private_key),
        listenPort: row.listen_port,
        addresses: ipv6 && row.ipv6_address !== null ? [row.address, row.ipv6_address] : [row.address],
        mtu,
      },
    }));
  }

  /** Clients by id, those of one interface, or all. */
  async clients(of: { ids: string[] } | { interfaceId: number } | 'all'): Promise<WantedClient[]> {
    const ids = of !== 'all' && 'ids' in of ? of.ids : null;
    const interfaceId = of !== 'all' && 'interfaceId' in of ? of.interfaceId : null;
    const rows: ClientRow[] = await this.dataSource.query(
      `SELECT c.id, interface_id, c.public_key, preshared_key, host(c.address) AS address,
              host(${ipv6Beside('c.address')}) AS ipv6_address,
              c.enabled AND ended_reason IS NULL AND removed_at IS NULL AS active, removed_at IS NOT NULL AS removed
         FROM clients c JOIN wireguard_interfaces i ON i.id = c.interface_id
        WHERE ($1::uuid[] IS NULL OR c.id = ANY($1)) AND ($2::int IS NULL OR interface_id = $2)`,
      [ids, interfaceId],
    );
    const ipv6 = await this.settings.get('ipv6');
    return rows.map((row) => ({
      clientId: row.id,
      interfaceId: row.interface_id,
      publicKey: row.public_key,
      presharedKey: this.secrets.open(PRESHARED_KEY_LABEL, row.preshared_key),
      allowedIps:
        ipv6 && row.ipv6_address !== null ? [`${row.address}/32`, `${row.ipv6_address}/128`] : [`${row.address}/32`],
      active: row.active,
      removed: row.removed,
    }));
  }

  /**
   * Marks clients past date or quota as ended, with an event for each. Where the settings say so they are removed, those
   * that had ended before included.
   */
  async endDue(): Promise<EndedClient[]> {
    const removeThem = (await this.settings.get('expired_client_action')) === 'delete';
    return this.dataSource.transaction(async (tx) => {
      const [rows]: [{ id: string; name: string; ended_reason: 'expired' | 'limited' }[], number] = await tx.query(
        `UPDATE clients c
            SET ended_reason = coalesce(c.ended_reason, CASE WHEN c.expires_at <= $1::timestamptz THEN 'expired'
                                                             ELSE 'limited' END),
                removed_at = CASE WHEN $2 THEN $1::timestamptz END
          WHERE c.removed_at IS NULL
            AND (c.id IN (
                  SELECT id FROM clients
                   WHERE expires_at <= $1::timestamptz AND ended_reason IS NULL AND removed_at IS NULL
                  UNION ALL
                  SELECT q.id FROM clients q JOIN usage_counters u ON u.subject_id = q.id
                   WHERE q.traffic_limit_bytes > 0 AND q.ended_reason IS NULL AND q.removed_at IS NULL
                     AND u.rx_total + u.tx_total >= q.traffic_limit_bytes)
              OR ($2 AND c.ended_reason IS NOT NULL))
        RETURNING c.id, c.name, c.ended_reason`,
        [this.clock.now(), removeThem],
      );
      await this.events.recordAll(
        rows.map((row) => ({
          type: 'CLIENT',
          severity: 'WARN',
          service: 'wireguard',
          action: `client_${row.ended_reason}`,
          target: row.name,
          message: `Client ${row.name} was ${removeThem ? 'removed' : 'cut off'}: ${REASONS[row.ended_reason]}`,
        })),
        tx,
      );
      return rows.map((row) => ({ clientId: row.id, name: row.name, reason: row.ended_reason }));
    });
  }

  /** Deletes the rows of removed clients whose peers are off the device; their addresses are free from then on. */
  async finishRemovals(clientIds: string[]): Promise<void> {
    if (clientIds.length === 0) return;
    await this.dataSource.transaction(async (tx) => {
      // Interfaces before clients, as everywhere; their ranges and pools stand still until this is done.
      await tx.query(
        `SELECT 1 FROM wireguard_interfaces
          WHERE id IN (SELECT interface_id FROM clients WHERE id = ANY($1)) ORDER BY id FOR SHARE`,
        [clientIds],
      );
      const [rows]: [{ id: string }[], number] = await tx.query(
        'DELETE FROM clients WHERE id = ANY($1) AND removed_at IS NOT NULL RETURNING id, interface_id, address',
        [clientIds],
      );
      // Only what lies in the range of now and was handed out before: the rest comes by the next refill.
      await tx.query(
        `INSERT INTO free_addresses (interface_id, address)
         SELECT i.id, freed.address
           FROM jsonb_to_recordset($1::jsonb) AS freed (interface_id int, address inet)
           JOIN wireguard_interfaces i ON i.id = freed.interface_id
          WHERE freed.address << i.range AND freed.address - network(i.range)::inet < i.next_host
         ON CONFLICT DO NOTHING`,
        [JSON.stringify(rows)],
      );
      await this.usage.retire(
        rows.map((row) => row.id),
        this.clock.now(),
        tx,
      );
    });
  }

  /** Devices that a restore left without an interface and that were not taken away yet. */
  async retiredDevices(): Promise<RetiredDevice[]> {
    const rows = await this.dataSource.query<{ number: number; public_key: string }[]>(
      'SELECT number, public_key FROM retired_devices ORDER BY number',
    );
    return rows.map((row) => ({ number: row.number, name: interfaceName(row.number), publicKey: row.public_key }));
  }

  async forgetRetired(device: RetiredDevice): Promise<void> {
    await this.dataSource.query('DELETE FROM retired_devices WHERE number = $1 AND public_key = $2', [
      device.number,
      device.publicKey,
    ]);
  }

  /** Ends the books of clients whose rows a restore took away. Their peers must be off all devices. */
  async retireStrays(): Promise<void> {
    await this.dataSource.transaction(async (tx) => {
      // Nobody may come back while it is looked who is gone.
      await tx.query('LOCK TABLE clients IN SHARE MODE');
      const rows = await tx.query<{ subject_id: string }[]>(
        `SELECT subject_id FROM usage_counters u WHERE kind = $1 AND subject_id <> $2
            AND NOT EXISTS (SELECT 1 FROM clients c WHERE c.id = u.subject_id)`,
        [USAGE_KINDS.wireguard, kindSubject('wireguard')],
      );
      await this.usage.retire(
        rows.map((row) => row.subject_id),
        this.clock.now(),
        tx,
      );
    });
  }

  async markRestarted(interfaceId: number): Promise<void> {
    await this.dataSource.query('UPDATE wireguard_interfaces SET restarted_at = $2 WHERE id = $1', [
      interfaceId,
      this.clock.now(),
    ]);
  }
}
