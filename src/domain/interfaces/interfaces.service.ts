import { Injectable } from '@nestjs/common';
import { InjectDataSource, InjectRepository } from '@nestjs/typeorm';
import { DataSource, EntityManager, QueryFailedError, Repository } from 'typeorm';
import { SecretBox } from '../../platform/crypto/secret-box.js';
import { generateKeyPair } from '../../platform/crypto/x25519.js';
import { hasIpv6 } from '../../platform/network/ipv6.js';
import { EnginesService } from '../engines/engines.service.js';
import { UndoService } from '../engines/undo.service.js';
import { EventsService } from '../events/events.service.js';
import {
  interfaceExists,
  interfaceHasClients,
  interfaceNotFound,
  interfaceNoUpdate,
  interfacePortTaken,
  interfaceRangeInvalid,
  interfaceRangeLeavesClients,
  interfaceRangeOverlaps,
  interfaceRangeTaken,
} from './interfaces.errors.js';
import { parseIpv4Range } from './ipv4-range.js';
import { randomUlaRange } from './ipv6-range.js';
import { RetiredDevice } from './retired-device.entity.js';
import { WireguardInterface } from './wireguard-interface.entity.js';

/** The engine that all WireGuard devices of this host belong to. */
export const WIREGUARD_ENGINE = 'wireguard';

/** The label that interface private keys are sealed under. */
export const INTERFACE_KEY_LABEL = 'wireguard-interface-key';

/** What `create` needs: the server's address with prefix (`10.0.1.1/24`) and a UDP port. */
export interface NewInterface {
  address: string;
  listenPort: number;
  /** Default: the lowest free number. */
  number?: number;
  /** False stores the interface without making a device. Default true. */
  enabled?: boolean;
}

/** What may change; what is absent stays. */
export interface InterfaceChange {
  address?: string | undefined;
  listenPort?: number | undefined;
  enabled?: boolean | undefined;
}

/** An interface as operators see it, private key in the clear. */
export interface InterfaceView {
  number: number;
  address: string;
  listenPort: number;
  privateKey: string;
  publicKey: string;
  enabled: boolean;
}

/** What of a row can change. */
type DeviceWishes = Pick<WireguardInterface, 'address' | 'range' | 'listenPort' | 'enabled'>;

export const interfaceName = (number: number): string => `wg${number}`;

/** The key under which the WireGuard engine applies one interface. */
export const interfaceKey = (id: number): string => `interface:${id}`;

/** The WireGuard devices that should exist on this host. */
@Injectable()
export class InterfacesService {
  constructor(
    @InjectDataSource() private readonly dataSource: DataSource,
    @InjectRepository(WireguardInterface) private readonly repository: Repository<WireguardInterface>,
    private readonly engines: EnginesService,
    private readonly undo: UndoService,
    private readonly events: EventsService,
    private readonly secrets: SecretBox,
  ) {}

  /** All interfaces by number. */
  async list(): Promise<InterfaceView[]> {
    const rows = await this.repository.find({ order: { number: 'ASC' } });
    return rows.map((row) => ({
      number: row.number,
      address: row.address,
      listenPort: row.listenPort,
      privateKey: this.secrets.open(INTERFACE_KEY_LABEL, row.privateKey),
      publicKey: row.publicKey,
      enabled: row.enabled,
    }));
  }

  findByNumber(number: number): Promise<WireguardInterface | null> {
    return this.repository.findOneBy({ number });
  }

  /**
   * Stores an interface with a new key pair and brings its device up. Errors: `interface_range_invalid`,
   * `interface_port_taken`, `interface_range_taken`, `interface_range_overlaps`, `engine_refused` (port in use on the
   * host, a foreign device of that name), `engine_unavailable`; after an error there is no such interface.
   */
  async create(wanted: NewInterface): Promise<WireguardInterface> {
    const range = parseIpv4Range(wanted.address);
    if (!range) throw interfaceRangeInvalid(wanted.address);
    const enabled = wanted.enabled ?? true;
    if (enabled) await this.engines.assertDriven(WIREGUARD_ENGINE);

    const keys = generateKeyPair();
    const ipv6Range = (await hasIpv6()) ? randomUlaRange() : null;
    const row = await this.write({ ...wanted, address: range.address }, async (tx) => {
      // One at a time, so that two creations never settle on the same lowest number.
      await tx.query(`SELECT pg_advisory_xact_lock(hashtextextended('causeway/interface-number', 0))`);
      const number = wanted.number ?? (await this.lowestFreeNumber(tx));
      const inserted = await tx.save(WireguardInterface, {
        number,
        address: range.address,
        range: range.network,
        ipv6Range,
        listenPort: wanted.listenPort,
        privateKey: this.secrets.seal(INTERFACE_KEY_LABEL, keys.privateKey),
        publicKey: keys.publicKey,
        enabled,
      });
      await this.record('interface_created', number, `Interface ${interfaceName(number)} was created`, tx, {
        after: { address: range.address, listenPort: wanted.listenPort, enabled },
      });
      return inserted;
    });
    if (!enabled) return row;

    try {
      await this.engines.apply(WIREGUARD_ENGINE, interfaceKey(row.id));
    } catch (error) {
      await this.undo.run(interfaceName(row.number), () => this.undoCreate(row));
      throw error;
    }
    return row;
  }

  /**
   * Changes address range, port or wanted state; the device follows without losing sessions. Errors as `create`, and
   * `interface_not_found`, `interface_no_update`, `interface_range_leaves_clients`; after an error all is as it was,
   * except that taking a device down stays wanted.
   */
  async update(number: number, change: InterfaceChange): Promise<void> {
    if (change.address === undefined && change.listenPort === undefined && change.enabled === undefined) {
      throw interfaceNoUpdate();
    }
    const range = change.address === undefined ? null : parseIpv4Range(change.address);
    if (change.address !== undefined && !range) throw interfaceRangeInvalid(change.address);
    if (!(await this.findByNumber(number))) throw interfaceNotFound(interfaceName(number));
    await this.engines.assertDriven(WIREGUARD_ENGINE);

    const { before, after } = await this.write({ ...change, address: range?.address }, async (tx) => {
      const row = await tx.findOne(WireguardInterface, { where: { number }, lock: { mode: 'for_no_key_update' } });
      if (!row) throw interfaceNotFound(interfaceName(number));
      const next = {
        address: range?.address ?? row.address,
        range: range?.network ?? row.range,
        listenPort: change.listenPort ?? row.listenPort,
        enabled: change.enabled ?? row.enabled,
      };
      await this.replace(tx, row, next);
      if (next.address !== row.address) await this.assertClientsFit(tx, row.id, next.address, next.range);
      await this.record('interface_updated', number, `Interface ${interfaceName(number)} was changed`, tx, {
        before: { address: row.address, listenPort: row.listenPort, enabled: row.enabled },
        after: { address: next.address, listenPort: next.listenPort, enabled: next.enabled },
      });
      return { before: row, after: next };
    });

    try {
      await this.engines.apply(WIREGUARD_ENGINE, interfaceKey(before.id));
    } catch (error) {
      if (after.enabled) await this.undo.run(interfaceName(number), () => this.undoUpdate(before, after));
      throw error;
    }
  }

  /**
   * Takes device and row away. While clients are on it: `interface_has_clients`, unless `force`, which removes them
   * too, for good. Other errors: `interface_not_found`, `engine_unavailable`.
   */
  async remove(number: number, force: boolean): Promise<void> {
    const name = interfaceName(number);
    if (!(await this.findByNumber(number))) throw interfaceNotFound(name);
    await this.engines.assertDriven(WIREGUARD_ENGINE);
    const removed = await this.dataSource.transaction(async (tx) => {
      const row = await tx.findOne(WireguardInterface, { where: { number }, lock: { mode: 'pessimistic_write' } });
      if (!row) throw interfaceNotFound(name);
      const counted: { count: string }[] = await tx.query(
        'SELECT count(*) AS count FROM clients WHERE interface_id = $1 AND removed_at IS NULL',
        [row.id],
      );
      const clients = Number(counted[0]?.count ?? 0);
      if (clients > 0 && !force) throw interfaceHasClients(name, clients);
      await tx.query('UPDATE clients SET removed_at = now() WHERE interface_id = $1 AND removed_at IS NULL', [row.id]);
      await tx.update(WireguardInterface, { id: row.id }, { enabled: false });
      await this.record('interface_removed', number, `Interface ${name} was removed`, tx, {
        before: { address: row.address, listenPort: row.listenPort, clients },
      });
      return row;
    });
    const { id, enabled } = removed;
    await this.engines.apply(WIREGUARD_ENGINE, interfaceKey(id));
    try {
      await this.dataSource.manager.delete(WireguardInterface, { id, enabled: false });
    } catch (error) {
      if (constraintOf(error) !== 'clients_interface_id_fkey') throw error;
      // With the device gone its clients' rows are gone too; one created in between keeps the interface.
      await this.dataSource.manager.update(WireguardInterface, { id }, { enabled });
      this.engines.applySoon(WIREGUARD_ENGINE, interfaceKey(id));
      throw interfaceHasClients(name, 1);
    }
  }

  private async undoCreate({ id, number, publicKey }: WireguardInterface): Promise<void> {
    await this.dataSource.transaction(async (tx) => {
      const { affected } = await tx.delete(WireguardInterface, { id });
      if (affected === 0) return;
      // Whatever there is of the device by then goes as well, whoever drives the engine.
      await tx.insert(RetiredDevice, { number, publicKey });
      await this.record('interface_create_failed', number, `Interface ${interfaceName(number)} was not made`, tx);
    });
    this.engines.applySoon(WIREGUARD_ENGINE, interfaceKey(id));
  }

  private async undoUpdate(before: WireguardInterface, after: DeviceWishes): Promise<void> {
    const { id, number } = before;
    await this.dataSource.transaction(async (tx) => {
      const row = await tx.findOne(WireguardInterface, { where: { id }, lock: { mode: 'for_no_key_update' } });
      // Somebody may have changed it again since; their word is the newer one.
      const unchanged =
        row?.address === after.address && row.listenPort === after.listenPort && row.enabled === after.enabled;
      if (!row || !unchanged) return;
      await this.replace(tx, row, before);
      const message = `Interface ${interfaceName(number)} could not be changed and is as it was`;
      await this.record('interface_update_failed', number, message, tx);
    });
    this.engines.applySoon(WIREGUARD_ENGINE, interfaceKey(id));
  }

  private async lowestFreeNumber(tx: EntityManager): Promise<number> {
    const rows: { number: number }[] = await tx.query(
      `SELECT n AS number FROM generate_series(0, (SELECT count(*) FROM wireguard_interfaces)::int) n
        WHERE NOT EXISTS (SELECT 1 FROM wireguard_interfaces i WHERE i.number = n) ORDER BY n LIMIT 1`,
    );
    return rows[0]?.number ?? 0;
  }

  private async assertClientsFit(tx: EntityManager, id: number, address: string, range: string): Promise<void> {
    const rows: { count: string }[] = await tx.query(
      `SELECT count(*) AS count FROM clients
        WHERE interface_id = $1
          AND (NOT address << $2::cidr OR host(address) IN (host($3::inet), host(broadcast($2::cidr)), host($2::cidr)))`,
      [id, range, address],
    );
    const count = Number(rows[0]?.count ?? 0);
    if (count > 0) throw interfaceRangeLeavesClients(address, count);
  }

  private async replace(tx: EntityManager, row: WireguardInterface, next: DeviceWishes): Promise<void> {
    const { address, range, listenPort, enabled } = next;
    const moved = address !== row.address;
    // Waits for those who are just taking an address of the old range: their clients are seen after this. The pool is
    // filled again from the new range when the next client needs an address.
    if (moved) await tx.query('DELETE FROM free_addresses WHERE interface_id = $1', [row.id]);
    await tx.update(
      WireguardInterface,
      { id: row.id },
      { address, range, listenPort, enabled, ...(moved ? { nextHost: '1' } : {}) },
    );
  }

  /** Runs a transaction and says in our terms which rule of the table it broke. */
  private async write<T>(
    wanted: { address?: string | undefined; listenPort?: number | undefined; number?: number | undefined },
    work: (tx: EntityManager) => Promise<T>,
  ): Promise<T> {
    try {
      return await this.dataSource.transaction(work);
    } catch (error) {
      const constraint = constraintOf(error);
      if (constraint === 'wireguard_interfaces_listen_port_key') throw interfacePortTaken(wanted.listenPort ?? 0);
      if (constraint === 'wireguard_interfaces_number_key') throw interfaceExists(interfaceName(wanted.number ?? 0));
      if (constraint === 'wireguard_interfaces_range_excl') {
        const address = wanted.address ?? '';
        const same = await this.repository.existsBy({ address });
        throw same ? interfaceRangeTaken(address) : interfaceRangeOverlaps(address);
      }
      throw error;
    }
  }

  private record(
    action: string,
    number: number,
    message: string,
    tx: EntityManager,
    details: Record<string, unknown> = {},
  ): Promise<void> {
    const target = interfaceName(number);
    return this.events.record({ type: 'INTERFACE', service: 'wireguard', action, target, message, details }, tx);
  }
}

/** The rule of a table that a statement broke. */
function constraintOf(error: unknown): string | undefined {
  return error instanceof QueryFailedError ? (error.driverError as { constraint?: string }).constraint : undefined;
}
