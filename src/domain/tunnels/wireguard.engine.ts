import { Injectable, type OnModuleInit } from '@nestjs/common';
import { Clock } from '../../platform/clock/clock.js';
import { Config } from '../../platform/config/config.js';
import { AppLogger } from '../../platform/logging/app-logger.js';
import { DomainError } from '../domain-error.js';
import type { Failures } from '../engines/apply-queue.js';
import type { EngineHandler, EngineHealth } from '../engines/engine.handler.js';
import { engineRefused, engineUnavailable } from '../engines/engines.errors.js';
import { EnginesService } from '../engines/engines.service.js';
import { EventsService } from '../events/events.service.js';
import { WIREGUARD_ENGINE } from '../interfaces/interfaces.service.js';
import { SettingsService } from '../settings/settings.service.js';
import { UsageService } from '../usage/usage.service.js';
import { type RetiredDevice, TunnelRowsService, type WantedClient, type WantedDevice } from './tunnel-rows.service.js';
import { PacketRulesService } from './packet-rules.service.js';
import { problemText } from './problem.text.js';
import {
  ForeignDeviceError,
  TunnelPort,
  TunnelRefusedError,
  TunnelUnavailableError,
  type DeviceReading,
  type PeerChange,
  type TunnelCapability,
} from './tunnel.port.js';
import { setPeer, WantedPeers } from './wanted-peers.js';

/** How long removed peers gather before one reading books the last bytes of all of them. */
const LEAVE_AFTER_MS = 300;
/** The rows are read again at least this often, in case a notification was lost. */
const RELOAD_EVERY_MS = 60_000;

/** A device that should exist, with the peers it should have. */
interface Device {
  row: WantedDevice;
  peers: WantedPeers;
  /** It was there, ours and answering, when last touched. */
  live: boolean;
  /** Why it is not as it should be, there or gone. */
  problem: Error | null;
  /** Its row is gone: what is left of it is taken away, and then it is forgotten. */
  doomed: boolean;
}

/**
 * Drives all WireGuard devices of this host: makes them match the rows, reads their counters, cuts off who is past
 * date or quota. Runs in the owning process only, one call at a time.
 */
@Injectable()
export class WireguardEngine implements EngineHandler, OnModuleInit {
  readonly id = WIREGUARD_ENGINE;
  private readonly devices = new Map<number, Device>();
  /** Clients whose peers must leave their device once their last bytes are booked, by interface. */
  private readonly leaving = new Map<string, number>();
  private capability: TunnelCapability = { backend: null, message: 'WireGuard was not looked for yet', hint: null };
  /** Devices without an interface that are still to be taken away. */
  private retired: RetiredDevice[] = [];
  private loadedAt = 0;
  private leaveTimer: NodeJS.Timeout | null = null;

  constructor(
    private readonly config: Config,
    private readonly engines: EnginesService,
    private readonly port: TunnelPort,
    private readonly rows: TunnelRowsService,
    private readonly packetRules: PacketRulesService,
    private readonly usage: UsageService,
    private readonly settings: SettingsService,
    private readonly events: EventsService,
    private readonly clock: Clock,
    private readonly log: AppLogger,
  ) {}

  onModuleInit(): void {
    this.engines.register(this);
  }

  async takeOver(): Promise<void> {
    this.devices.clear();
    this.leaving.clear();
    this.capability = await this.port.capability();
    await this.load();
    if (!this.capability.backend) return;
    await this.removeRetired();
    for (const device of this.devices.values()) await this.bringInLine(device);
    await this.applyFirewall();
    await this.sendOff();
    await this.rows.retireStrays();
  }

  async letGo(): Promise<void> {
    if (this.leaveTimer) clearTimeout(this.leaveTimer);
    this.leaveTimer = null;
  }

  health(): EngineHealth {
    if (this.config.wireguard === 'off') return { state: 'absent', message: 'WireGuard is switched off', hint: null };
    if (!this.capability.backend) {
      return { state: 'absent', message: this.capability.message, hint: this.capability.hint };
    }
    const wanted = [...this.devices.values()].filter((device) => device.row.enabled);
    const broken = wanted.filter((device) => !device.live);
    const stuck = [...this.devices.values()].filter((device) => !device.row.enabled && !isGone(device));
    const problems = [...broken, ...stuck].map(
      (device) => `${device.row.name}: ${device.problem ? problemText(device.problem) : 'not in line yet'}`,
    );
    if (this.packetRules.problem) problems.push(this.packetRules.problem);
    const message =
      problems.length > 0
        ? problems.join('; ')
        : `${wanted.length} ${wanted.length === 1 ? 'device' : 'devices'} up (${this.capability.backend})`;
    const foreign = broken.find((device) => device.problem instanceof ForeignDeviceError);
    return {
      state: wanted.length > 0 && broken.length === wanted.length ? 'down' : 'up',
      message,
      hint: foreign ? `ip link del ${foreign.row.name}   # only if nothing else needs it` : this.capability.hint,
    };
  }

  async apply(keys: readonly string[]): Promise<Failures> {
    const failures = new Map<string, Error>();
    const clientIds: string[] = [];
    const interfaceIds: number[] = [];
    for (const key of keys) {
      const [kind, id] = key.split(':', 2);
      if (kind === 'client' && id) clientIds.push(id);
      else if (kind === 'interface' && id) interfaceIds.push(Number(id));
    }
    if (keys.includes('devices')) {
      const live = [...this.devices.values()].filter((device) => device.live).map((device) => device.row.interfaceId);
      const failed = await this.applyAllDevices();
      // One that was broken before says nothing about the change.
      const failure = live.map((id) => failed.get(id)).find((error) => error !== undefined);
      if (failure) failures.set('devices', asDomainError(failure));
    }
    if (interfaceIds.length > 0) await this.applyInterfaces(interfaceIds, failures);
    if (interfaceIds.length > 0 || keys.includes('firewall')) await this.applyFirewall();
    if (keys.includes('firewall') && this.packetRules.problem !== null) {
      failures.set('firewall', engineUnavailable(this.id, this.packetRules.problem));
    }
    if (clientIds.length > 0) await this.applyClients(clientIds, failures);
    return failures;
  }

  /**
   * `sync`: reads the rows anew, then measures, enforces and repairs. `reload`: any row may be another one, or gone; on a
   * host without WireGuard there is nothing else to do.
   */
  async command(name: string): Promise<unknown> {
    if (name === 'reload') await this.reload();
    else if (name === 'sync') await this.sync();
    else throw new Error(`Unknown command ${name}`);
    return null;
  }

  /**
   * One round of the books: measure, enforce, repair drift. Called by the timer and by `sync`. Once a minute, and for
   * `sync`, it is `whole`: rows are read anew, and addresses, ports, MTU and packet rules are repaired too.
   */
  async poll(whole = this.clock.monotonicMs() - this.loadedAt > RELOAD_EVERY_MS): Promise<void> {
    if (!this.capability.backend) this.capability = await this.port.capability();
    if (whole) await this.load();
    const readings = new Map<number, DeviceReading>();
    if (this.capability.backend) {
      for (const device of this.devices.values()) {
        const reading = await this.measure(device);
        if (reading) readings.set(device.row.interfaceId, reading);
      }
    }
    await this.enforce();
    if (!this.capability.backend) return;
    await this.removeRetired();
    let rulesDiffer = whole || this.packetRules.problem !== null;
    for (const device of this.devices.values()) {
      if (await this.repair(device, readings.get(device.row.interfaceId), whole)) rulesDiffer = true;
    }
    if (rulesDiffer) await this.applyFirewall();
    await this.sendOff();
    await this.restartDue();
  }

  private async sync(): Promise<void> {
    await this.poll(true);
    if (!this.capability.backend) throw this.absent();
    for (const { row, live, problem, peers } of this.devices.values()) {
      if (!row.enabled) continue;
      if (!live) throw asDomainError(problem ?? new Error(`${row.name} is not up`));
      // Done is what the device itself shows.
      const reading = await this.port.readDevice(row.name);
      if (reading === null || peers.drift(reading.peers).changes.length > 0) {
        throw engineUnavailable(this.id, `${row.name} does not show yet what is wanted of it`);
      }
    }
  }

  private async reload(): Promise<void> {
    // Of those who are gone, the last bytes are booked while it is still known whose they are.
    for (const device of this.devices.values()) await this.measure(device);
    const [failure] = (await this.applyAllDevices()).values();
    if (failure && this.capability.backend) throw asDomainError(failure);
    await this.rows.retireStrays();
  }

  /** Fills `devices` from the rows. What is live stays live. */
  private async load(): Promise<void> {
    const rows = await this.rows.devices();
    const clients = await this.rows.clients('all');
    const byInterface = new Map<number, WantedPeers>(rows.map((row) => [row.interfaceId, new WantedPeers()]));
    for (const client of clients) {
      byInterface.get(client.interfaceId)?.put(client);
      if (client.removed) this.leaving.set(client.clientId, client.interfaceId);
    }
    for (const row of rows) {
      const known = this.devices.get(row.interfaceId);
      const peers = byInterface.get(row.interfaceId) ?? new WantedPeers();
      this.devices.set(row.interfaceId, { live: false, problem: null, ...known, doomed: false, row, peers });
    }
    for (const [id, device] of this.devices) if (!byInterface.has(id)) this.doom(device);
    this.retired = await this.rows.retiredDevices();
    this.loadedAt = this.clock.monotonicMs();
  }

  private doom(device: Device): void {
    device.doomed = true;
    device.row = { ...device.row, enabled: false };
    if (isGone(device)) this.devices.delete(device.row.interfaceId);
  }

  /** Takes away what no interface wants any more; what cannot be taken away now is tried again. */
  private async removeRetired(): Promise<void> {
    const left: RetiredDevice[] = [];
    for (const retired of this.retired) {
      for (const [id, { row }] of this.devices) {
        if (row.name === retired.name && row.publicKey === retired.publicKey) this.devices.delete(id);
      }
      try {
        await this.port.removeDevice(retired.name, retired.publicKey);
      } catch (error) {
        // One of that name with another key is another device: this one is gone.
        if (!(error instanceof ForeignDeviceError)) {
          this.log.warn('a device could not be taken away', { device: retired.name, error: String(error) });
          left.push(retired);
          continue;
        }
      }
      await this.rows.forgetRetired(retired);
    }
    this.retired = left;
  }

  private async applyInterfaces(ids: number[], failures: Map<string, Error>): Promise<void> {
    const rows = new Map((await this.rows.devices(ids)).map((row) => [row.interfaceId, row]));
    for (const id of ids) {
      const row = rows.get(id);
      const known = this.devices.get(id);
      try {
        if (row) {
          const fresh = { live: false, problem: null, peers: new WantedPeers() };
          const device: Device = { ...fresh, ...known, doomed: false, row };
          this.devices.set(id, device);
          await this.refresh(device);
          const failure = await this.bringInLine(device);
          if (failure) throw failure;
          if (!row.enabled) await this.sendOff();
        } else if (known) {
          this.doom(known);
          const failure = await this.bringInLine(known);
          if (failure) throw failure;
        }
      } catch (error) {
        failures.set(`interface:${id}`, asDomainError(error));
      }
    }
  }

  /** Reads the clients of one device anew. */
  private async refresh(device: Device): Promise<void> {
    const { interfaceId } = device.row;
    const peers = new WantedPeers();
    for (const client of await this.rows.clients({ interfaceId })) {
      peers.put(client);
      if (client.removed) this.leaving.set(client.clientId, interfaceId);
    }
    device.peers = peers;
  }

  /** Why devices are not as their rows want them, by interface; empty when all are. */
  private async applyAllDevices(): Promise<Map<number, Error>> {
    await this.load();
    if (this.capability.backend) await this.removeRetired();
    const again: Device[] = [];
    for (const device of this.devices.values()) if (await this.bringInLine(device)) again.push(device);
    // A port may only have become free by what came after.
    const failed = new Map<number, Error>();
    for (const device of again) {
      const failure = await this.bringInLine(device);
      if (failure) failed.set(device.row.interfaceId, failure);
    }
    await this.applyFirewall();
    return failed;
  }

  private async applyClients(ids: string[], failures: Map<string, Error>): Promise<void> {
    const rows = new Map((await this.rows.clients({ ids })).map((row) => [row.clientId, row]));
    const changes = new Map<Device, PeerChange[]>();
    const affected = new Map<Device, string[]>();
    for (const id of ids) {
      const row = rows.get(id);
      const device = row ? this.devices.get(row.interfaceId) : this.deviceOf(id);
      if (!device) {
        if (row) failures.set(`client:${id}`, engineUnavailable(this.id, 'The interface is not known yet'));
        continue;
      }
      const change = this.changeFor(id, row, device);
      if (!change || !device.row.enabled) continue;
      changes.set(device, [...(changes.get(device) ?? []), change]);
      affected.set(device, [...(affected.get(device) ?? []), id]);
    }
    for (const [device, wanted] of changes) {
      try {
        if (!device.live) throw device.problem ?? engineUnavailable(this.id, `${device.row.name} is not up`);
        await this.port.changePeers(device.row.name, wanted);
      } catch (error) {
        this.noteProblem(device, error);
        for (const id of affected.get(device) ?? []) failures.set(`client:${id}`, asDomainError(error));
      }
    }
    this.sendOffSoon();
  }

  /** What one client's row asks of its device, noted in `peers` and `leaving` as well. */
  private changeFor(id: string, row: WantedClient | undefined, device: Device): PeerChange | null {
    const known = device.peers.ofClient(id);
    if (!row) {
      device.peers.drop(id);
      this.leaving.delete(id);
      return known ? { action: 'remove', publicKey: known.publicKey } : null;
    }
    device.peers.put(row);
    if (row.active) {
      this.leaving.delete(id);
      return setPeer(row);
    }
    this.leaving.set(id, device.row.interfaceId);
    return { action: 'block', publicKey: row.publicKey };
  }

  private deviceOf(clientId: string): Device | undefined {
    return [...this.devices.values()].find((device) => device.peers.ofClient(clientId));
  }

  /** Makes one device and its peers match their rows, or notes and returns why that cannot be. */
  private async bringInLine(device: Device): Promise<Error | null> {
    try {
      if (!this.capability.backend) throw this.absent();
      if (!device.row.enabled) {
        await this.takeDown(device);
        device.problem = null;
        if (device.doomed) this.devices.delete(device.row.interfaceId);
        return null;
      }
      await this.port.ensureDevice(device.row.spec);
      const reading = await this.port.readDevice(device.row.name);
      if (!reading) throw engineUnavailable(this.id, `${device.row.name} went away while it was made`);
      await this.book(device, reading);
      const drift = device.peers.drift(reading.peers);
      for (const clientId of drift.leaving) this.leaving.set(clientId, device.row.interfaceId);
      await this.usage.forget(drift.missing);
      await this.port.changePeers(device.row.name, drift.changes);
      if (device.live && drift.changes.length > 0) this.logRepair(device, drift.changes.length);
      device.live = true;
      device.problem = null;
      return null;
    } catch (error) {
      return this.noteProblem(device, error);
    }
  }

  /** Books a device's last bytes and takes it away; absent is fine. */
  private async takeDown(device: Device): Promise<void> {
    if (!this.capability.backend) return;
    const { name, publicKey } = device.row;
    try {
      // One that could not be read before is taken away unread.
      const reading = await this.port.readDevice(name).catch((error: unknown) => {
        if (device.problem === null || !(error instanceof TunnelUnavailableError)) throw error;
        return 'silent' as const;
      });
      if (reading !== null && reading !== 'silent' && reading.publicKey === publicKey) await this.book(device, reading);
      if (reading !== null) await this.port.removeDevice(name, publicKey);
    } catch (error) {
      // What has the name is another's: nothing of ours is there.
      if (!(error instanceof ForeignDeviceError)) throw error;
    }
    device.live = false;
  }

  private async measure(device: Device): Promise<DeviceReading | null> {
    if (!device.row.enabled || !device.live) return null;
    try {
      const reading = await this.port.readDevice(device.row.name);
      if (reading && reading.publicKey === device.row.publicKey) {
        await this.book(device, reading);
        return reading;
      }
      throw engineUnavailable(this.id, `${device.row.name} is gone and is being made again`);
    } catch (error) {
      this.noteProblem(device, error);
      return null;
    }
  }

  private async book(device: Device, reading: DeviceReading): Promise<void> {
    const booked = [];
    for (const peer of reading.peers) {
      const wanted = device.peers.ofKey(peer.publicKey);
      if (wanted) {
        booked.push({
          subjectId: wanted.clientId,
          rx: peer.rxBytes,
          tx: peer.txBytes,
          latestHandshake: peer.latestHandshake,
        });
      }
    }
    if (booked.length > 0) await this.usage.book('wireguard', reading.epoch, booked);
  }

  /** Cuts off who is past date or quota: in the rows first, then on the devices. */
  private async enforce(): Promise<void> {
    const ended = await this.rows.endDue();
    if (ended.length === 0) return;
    const failures = new Map<string, Error>();
    const ids = ended.map((client) => client.clientId);
    await this.applyClients(ids, failures).catch((error: unknown) => {
      // The rows know more than this process now: it reads them again the next time.
      this.loadedAt = -Infinity;
      throw error;
    });
    for (const [key, error] of failures) {
      this.log.warn('cut-off is not on the device yet and is tried again', { key, error: error.message });
    }
  }

  /** Whether the device came or went. A `whole` repair looks at more than its peers. */
  private async repair(device: Device, reading: DeviceReading | undefined, whole: boolean): Promise<boolean> {
    const { live: wasLive, problem } = device;
    if (!device.row.enabled && isGone(device)) return false;
    if (whole || !wasLive || !device.row.enabled) {
      // What is made anew is made from the rows, not from what was known when it was lost.
      if (!wasLive && device.row.enabled) await this.refresh(device);
      await this.bringInLine(device);
      if (device.live && !wasLive && problem) this.log.info('device is back', { device: device.row.name });
      return device.live !== wasLive;
    }
    if (reading) await this.repairPeers(device, reading);
    return false;
  }

  private async repairPeers(device: Device, reading: DeviceReading): Promise<void> {
    // The reading is older than the cut-offs of this round; those are on the device already and stay blocked.
    const drift = device.peers.drift(reading.peers);
    for (const clientId of drift.leaving) this.leaving.set(clientId, device.row.interfaceId);
    if (drift.changes.length === 0) return;
    try {
      await this.usage.forget(drift.missing);
      await this.port.changePeers(device.row.name, drift.changes);
      this.logRepair(device, drift.changes.length);
    } catch (error) {
      this.noteProblem(device, error);
    }
  }

  private sendOffSoon(): void {
    if (this.leaving.size === 0 || this.leaveTimer) return;
    this.leaveTimer = setTimeout(() => {
      this.leaveTimer = null;
      this.engines
        .whileOwner(this.id, () => this.sendOff())
        .catch((error: unknown) => {
          this.log.warn('peers could not leave their device yet', { error: String(error) });
        });
    }, LEAVE_AFTER_MS);
    this.leaveTimer.unref();
  }

  /**
   * One reading of each device books the last bytes of all peers that leave it; then they go, and only then are the
   * addresses of removed clients free. Safe to repeat from any point.
   */
  private async sendOff(): Promise<void> {
    for (const device of this.devices.values()) {
      const ids = [...this.leaving].filter(([, at]) => at === device.row.interfaceId).map(([clientId]) => clientId);
      if (ids.length === 0) continue;
      try {
        const gone = await this.departed(device, ids);
        await this.rows.finishRemovals(gone.filter((client) => client.removed).map((client) => client.clientId));
        for (const client of gone) {
          this.leaving.delete(client.clientId);
          if (client.removed) device.peers.drop(client.clientId);
        }
      } catch (error) {
        this.noteProblem(device, error);
      }
    }
  }

  /** Of these clients, those whose peers are on no device now. */
  private async departed(device: Device, ids: string[]): Promise<WantedClient[]> {
    if (device.row.enabled) return this.detach(device, ids);
    return isGone(device) ? this.rows.clients({ ids }) : [];
  }

  /** Takes peers off a live device; gives the clients whose peers are gone. Those that are wanted again are skipped. */
  private async detach(device: Device, ids: string[]): Promise<WantedClient[]> {
    if (!device.live) return [];
    const rows = await this.rows.clients({ ids });
    const leavers = rows.filter((client) => !client.active);
    for (const client of rows) if (client.active) this.leaving.delete(client.clientId);
    const existing = new Set(rows.map((client) => client.clientId));
    for (const id of ids) if (!existing.has(id)) this.leaving.delete(id);
    if (leavers.length === 0) return [];

    const reading = await this.port.readDevice(device.row.name);
    if (!reading) throw engineUnavailable(this.id, `${device.row.name} is gone and is being made again`);
    const keys = new Set(leavers.map((client) => client.publicKey));
    await this.book(device, { ...reading, peers: reading.peers.filter((peer) => keys.has(peer.publicKey)) });
    await this.port.changePeers(
      device.row.name,
      leavers.map(({ publicKey }) => ({ action: 'remove', publicKey })),
    );
    // A peer that is added again later counts from zero.
    await this.usage.forget(leavers.map((client) => client.clientId));
    return leavers;
  }

  /** Makes devices anew whose time has come by the setting `reset_time` (hours, 0 never). */
  private async restartDue(): Promise<void> {
    const hours = await this.settings.get('reset_time');
    if (hours === 0) return;
    for (const device of this.devices.values()) {
      const age = this.clock.nowMs() - device.row.restartedAt.getTime();
      if (!device.row.enabled || !device.live || age < hours * 3_600_000) continue;
      await this.takeDown(device);
      await this.rows.markRestarted(device.row.interfaceId);
      device.row.restartedAt = this.clock.now();
      await this.bringInLine(device);
      await this.applyFirewall();
      await this.events.record({
        type: 'INTERFACE',
        service: 'wireguard',
        action: 'interface_restarted',
        target: device.row.name,
        message: `Interface ${device.row.name} was restarted, as reset_time asks every ${hours} h`,
      });
    }
  }

  private async applyFirewall(): Promise<void> {
    if (!this.capability.backend) return;
    const live = [...this.devices.values()].filter((device) => device.row.enabled && device.live);
    await this.packetRules.apply(live.map((device) => device.row));
  }

  private noteProblem(device: Device, error: unknown): Error {
    const problem = error instanceof Error ? error : new Error(String(error));
    // A refusal is about the one change; the device itself is well, unless it is not ours.
    if (problem instanceof TunnelRefusedError && device.live) return problem;
    if (device.problem?.message !== problem.message) {
      this.log.warn('device has a problem', { device: device.row.name, error: problem.message });
    }
    device.live = false;
    device.problem = problem;
    return problem;
  }

  private logRepair(device: Device, changes: number): void {
    this.log.info('device repaired', { device: device.row.name, changes });
  }

  private absent(): DomainError {
    const { message, hint } = this.capability;
    return engineUnavailable(this.id, message, hint);
  }
}

/** It is known that there is no such device. */
function isGone(device: Device): boolean {
  return !device.live && device.problem === null;
}

function asDomainError(error: unknown): DomainError {
  if (error instanceof DomainError) return error;
  const refused = error instanceof ForeignDeviceError || error instanceof TunnelRefusedError;
  return refused
    ? engineRefused(WIREGUARD_ENGINE, error.message)
    : engineUnavailable(WIREGUARD_ENGINE, problemText(error));
}
