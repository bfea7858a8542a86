import { Injectable } from '@nestjs/common';
import { Clock } from '../../platform/clock/clock.js';
import { AppLogger } from '../../platform/logging/app-logger.js';
import { SettingsService } from '../settings/settings.service.js';
import { kindSubject } from '../usage/usage-kinds.js';
import { UsageService, type UsageReading as LedgerReading } from '../usage/usage.service.js';
import { type LogMark, readAccessLog, truncateAccessLog } from './access-log.tail.js';
import { ConnectionTally } from './connection.tally.js';
import { type ProxyCapability, ProxyEnginePort, type UsageReading } from './proxy-engine.port.js';
import { type DomainCount, type LiveRow, userIdOf, type WantedUser, XrayRowsService } from './xray-rows.service.js';

const LOG_BYTES_A_POLL = 16 * 1024 * 1024;
const LOG_BYTES_A_LOOK = 1024 * 1024;
const LOG_TRUNCATED_AT = 16 * 1024 * 1024;
const ONLINE_MS = 30_000;
const SHOWN_ADDRESSES_MS = 5 * 60_000;
const MINUTE_MS = 60_000;
const PURGE_EVERY_MS = 6 * 3_600_000;

interface Counted {
  up: number;
  down: number;
}

/** The last reading, and the life of the engine that it belongs to. */
interface LastReading extends Counted {
  epoch: number;
}

/**
 * What the engine's counters and its access log add up to: the ledger, domains, and who is online. In the memory of the
 * process that drives the engine is only what the next poll needs.
 */
@Injectable()
export class TrafficBooks {
  /** Why the access log cannot be read, as a sentence; null when it can. */
  problem: string | null = null;
  readonly hint = 'Mend the disk, then restart the engine: POST /api/xray/restart';
  private tally = new ConnectionTally();
  private mark: LogMark = { inode: null, position: 0 };
  private atEnd = true;
  private last = new Map<string, LastReading>();
  /** When this process read it; null: it has not yet. */
  private lastAt: number | null = null;
  private readonly movedAt = new Map<string, number>();
  private readonly lately: { at: number; users: Map<string, number>; bytes: number }[] = [];
  private today = { day: '', users: new Set<string>() };
  private purgedAt = -Infinity;

  constructor(
    private readonly port: ProxyEnginePort,
    private readonly rows: XrayRowsService,
    private readonly usage: UsageService,
    private readonly settings: SettingsService,
    private readonly clock: Clock,
    private readonly log: AppLogger,
  ) {}

  /** Begins where the last one who drove the engine ended. */
  async open(): Promise<void> {
    this.tally = new ConnectionTally();
    this.last = await this.rows.lastReadings();
    this.lastAt = null;
    this.movedAt.clear();
    this.lately.length = 0;
    this.mark = (await this.rows.collector()).log;
    const now = this.clock.nowMs();
    for (const { userId, addresses } of await this.rows.lastAddresses()) {
      for (const address of addresses.toReversed()) this.tally.seeAddress(userId, address, now);
    }
  }

  /**
   * Goes on with the books of users whom a restore brought back: engines never forget whom they served, and what they
   * counted before is booked already. To be called before such users are let in.
   */
  async takeUp(): Promise<void> {
    const userIds = await this.rows.revived();
    // One that does not run counts from zero.
    if (userIds.length === 0 || (await this.port.status()).state !== 'running') return;
    const reading = await this.port.readUsage();
    const counted = countedOf(reading, new Set(userIds));
    const readings = userIds.map((userId) => {
      const { up, down } = counted.get(userId) ?? { up: 0, down: 0 };
      return { subjectId: userId, rx: up, tx: down, latestHandshake: 0 };
    });
    await this.usage.resume(reading.epoch, readings);
    for (const [userId, { up, down }] of counted) this.last.set(userId, { up, down, epoch: reading.epoch });
  }

  /** Reads the log up to now, so that the addresses are those of now. Nothing is booked by it. */
  async look(users: ReadonlyMap<string, WantedUser>, capability: ProxyCapability): Promise<void> {
    await this.readLog(users, capability, LOG_BYTES_A_LOOK);
    await this.readOnline(users, capability);
  }

  /** Where the user was seen within a day, newest first. */
  addressesOf(userId: string): string[] {
    return this.tally.allAddressesOf(userId, this.clock.nowMs());
  }

  /** Books what one reading of the counters, and the log up to now, show of these users. */
  async collect(
    reading: UsageReading,
    users: ReadonlyMap<string, WantedUser>,
    capability: ProxyCapability,
  ): Promise<void> {
    const now = this.clock.nowMs();
    const at = this.clock.monotonicMs();
    await this.readLog(users, capability, LOG_BYTES_A_POLL);
    const online = await this.readOnline(users, capability);

    const counted = countedOf(reading, users);
    // What moved while nobody looked has no rate.
    const seconds = this.lastAt === null ? 0 : Math.max((at - this.lastAt) / 1000, 0.001);
    const moved = new Map<string, Counted>();
    for (const [userId, { up, down }] of counted) {
      const last = this.last.get(userId);
      const was = last?.epoch === reading.epoch ? last : { up: 0, down: 0 };
      const delta = { up: Math.max(0, up - was.up), down: Math.max(0, down - was.down) };
      if (delta.up + delta.down > 0) moved.set(userId, delta);
    }
    for (const userId of moved.keys()) this.movedAt.set(userId, at);

    const day = new Date(now).toISOString().slice(0, 10);
    if (this.today.day !== day) this.today = { day, users: new Set() };
    const usedToday = [...moved.keys()].filter((userId) => !this.today.users.has(userId));
    const pending = this.tally.pending();
    const readings: LedgerReading[] = [...counted].map(([userId, { up, down }]) => ({
      subjectId: userId,
      rx: up,
      tx: down,
      latestHandshake: moved.has(userId) ? Math.floor(now / 1000) : 0,
    }));
    await this.rows.collect({
      epoch: reading.epoch,
      readings,
      conns: pending.conns,
      domains: this.domainsOf(moved, pending.domains, day),
      usedToday,
      live: await this.live(users, moved, online, seconds, at, now),
      log: this.mark,
    });
    this.tally.booked();
    for (const userId of usedToday) this.today.users.add(userId);
    for (const [userId, { up, down }] of counted) this.last.set(userId, { up, down, epoch: reading.epoch });
    this.lastAt = at;
    await this.tidy(at);
  }

  /** The last bytes of users whose rows are about to go. */
  async bookLast(reading: UsageReading, userIds: ReadonlySet<string>): Promise<void> {
    const counted = countedOf(reading, userIds);
    const readings = [...counted].map(([userId, { up, down }]) => ({
      subjectId: userId,
      rx: up,
      tx: down,
      latestHandshake: 0,
    }));
    await this.usage.book('xray', reading.epoch, readings);
  }

  /** The collector is off: nobody is known to be online. */
  async pause(): Promise<void> {
    if (this.lastAt === null) return;
    this.lastAt = null;
    this.movedAt.clear();
    this.lately.length = 0;
    await this.rows.clearLive();
  }

  forget(userId: string): void {
    this.tally.forget(userId);
    this.movedAt.delete(userId);
    this.last.delete(userId);
  }

  private async readLog(
    users: ReadonlyMap<string, WantedUser>,
    capability: ProxyCapability,
    limitBytes: number,
  ): Promise<void> {
    // The log of an engine that is not ours is written elsewhere, if at all.
    if (capability.external) return;
    const now = this.clock.nowMs();
    try {
      const read = await readAccessLog(this.rows.accessLogPath, this.mark, limitBytes, (entry) => {
        const userId = userIdOf(entry.engineId);
        if (userId !== null && users.has(userId)) this.tally.add(userId, entry, now);
      });
      if (read) {
        this.mark = { inode: read.inode, position: read.position };
        this.atEnd = read.atEnd;
      }
      this.noteLog(read ? null : 'The access log is gone: connections are not counted');
    } catch (error) {
      this.noteLog(`The access log cannot be read: ${(error as NodeJS.ErrnoException).code ?? 'unknown error'}`);
    }
  }

  private noteLog(problem: string | null): void {
    if (problem !== null && this.problem !== problem) this.log.warn(problem);
    this.problem = problem;
  }

  private async readOnline(
    users: ReadonlyMap<string, WantedUser>,
    capability: ProxyCapability,
  ): Promise<ReadonlySet<string>> {
    const online = new Set<string>();
    if (!capability.onlineUsers) return online;
    try {
      const now = this.clock.nowMs();
      for (const { id, addresses } of (await this.port.readOnline()) ?? []) {
        const userId = userIdOf(id);
        if (userId === null || !users.has(userId)) continue;
        online.add(userId);
        for (const address of addresses) this.tally.seeAddress(userId, address, now);
      }
    } catch (error) {
      this.log.warn('the engine does not say who is connected', { error: String(error) });
    }
    return online;
  }

  /** A user's bytes of this poll, shared out by its connections, and the connections themselves. */
  private domainsOf(
    moved: ReadonlyMap<string, Counted>,
    tallies: readonly { userId: string; day: string; conns: ReadonlyMap<string, number> }[],
    today: string,
  ): DomainCount[] {
    const counts = new Map<string, DomainCount>();
    const of = (userId: string, day: string, domain: string): DomainCount => {
      const key = `${userId} ${day} ${domain}`;
      let count = counts.get(key);
      if (!count) {
        count = { userId, day, domain, conns: 0, bytes: 0 };
        counts.set(key, count);
      }
      return count;
    };
    for (const { userId, day, conns } of tallies) {
      for (const [domain, number] of conns) of(userId, day, domain).conns += number;
    }
    for (const [userId, { up, down }] of moved) {
      const weights = this.tally.weightsOf(userId);
      const whole = [...weights.values()].reduce((sum, weight) => sum + weight, 0);
      let left = up + down;
      for (const [domain, weight] of weights) {
        const share = Math.floor(((up + down) * weight) / whole);
        of(userId, today, domain).bytes += share;
        left -= share;
      }
      if (left > 0) of(userId, today, weights.keys().next().value ?? 'other').bytes += left;
    }
    return [...counts.values()];
  }

  private async live(
    users: ReadonlyMap<string, WantedUser>,
    moved: ReadonlyMap<string, Counted>,
    online: ReadonlySet<string>,
    seconds: number,
    at: number,
    now: number,
  ): Promise<{ users: LiveRow[]; whole: LiveRow }> {
    const bytesMoved = new Map([...moved].map(([userId, { up, down }]) => [userId, up + down]));
    this.lately.push({ at, users: bytesMoved, bytes: [...bytesMoved.values()].reduce((sum, bytes) => sum + bytes, 0) });
    while (this.lately.length > 0 && at - this.lately[0]!.at >= MINUTE_MS) this.lately.shift();

    const windowMs = Math.max(ONLINE_MS, (await this.settings.get('sync_interval')) * 3000);
    const present = new Set([...online, ...this.tally.lately()]);
    for (const [userId, movedAt] of this.movedAt) {
      if (at - movedAt <= windowMs) present.add(userId);
      else this.movedAt.delete(userId);
    }
    const rate = (bytes: number) => (seconds > 0 ? Math.round(bytes / seconds) : 0);
    const rows: LiveRow[] = [];
    const whole: LiveRow = {
      subject_id: kindSubject('xray'),
      up_rate: 0,
      down_rate: 0,
      bytes: 0,
      conns: 0,
      addresses: [],
    };
    for (const userId of present) {
      const conns = this.tally.openedLately(userId, now);
      const { up, down } = moved.get(userId) ?? { up: 0, down: 0 };
      whole.up_rate += rate(up);
      whole.down_rate += rate(down);
      whole.conns += conns;
      if (!users.get(userId)?.active || (conns === 0 && !online.has(userId) && !this.movedAt.has(userId))) continue;
      rows.push({
        subject_id: userId,
        up_rate: rate(up),
        down_rate: rate(down),
        bytes: this.lately.reduce((sum, { users: by }) => sum + (by.get(userId) ?? 0), 0),
        conns,
        addresses: this.tally.addressesOf(userId, SHOWN_ADDRESSES_MS, now),
      });
    }
    whole.bytes = this.lately.reduce((sum, { bytes }) => sum + bytes, 0);
    return { users: rows, whole };
  }

  /** Now and then: the log is emptied when all of it is booked, and what is past keeping goes. */
  private async tidy(at: number): Promise<void> {
    try {
      if (this.atEnd && (await truncateAccessLog(this.rows.accessLogPath, this.mark, LOG_TRUNCATED_AT))) {
        this.mark = { ...this.mark, position: 0 };
      }
      if (at - this.purgedAt < PURGE_EVERY_MS) return;
      await this.rows.purge();
      this.purgedAt = at;
    } catch (error) {
      this.log.warn('old records of the proxy engine are kept for now', { error: String(error) });
    }
  }
}

/** Up and down by user, over all ids that the engine knows it by: none of them ever falls within one life. */
function countedOf(reading: UsageReading, users: { has(userId: string): boolean }): Map<string, Counted> {
  const counted = new Map<string, Counted>();
  for (const { id, upBytes, downBytes } of reading.users) {
    const userId = userIdOf(id);
    if (userId === null || !users.has(userId)) continue;
    const sum = counted.get(userId);
    if (sum) {
      sum.up += upBytes;
      sum.down += downBytes;
    } else counted.set(userId, { up: upBytes, down: downBytes });
  }
  return counted;
}
