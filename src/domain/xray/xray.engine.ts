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
import {
  type EngineSpec,
  type ProxyCapability,
  ProxyEnginePort,
  ProxyRefusedError,
  type ProxyUserSpec,
  type UsageReading,
} from './proxy-engine.port.js';
import { TrafficBooks } from './traffic.books.js';
import { XRAY_ENGINE, XRAY_INBOUND_KEY } from './xray-engine-keys.js';
import { engineIdOf, type WantedInbound, type WantedUser, XrayRowsService } from './xray-rows.service.js';
import { xrayInboundMissing } from './xray.errors.js';

/** The rows are read again, and the engine made to match, at least this often, in case a notification was lost. */
const RELOAD_EVERY_MS = 60_000;
/** Who was cut off has so long until bytes that still move count against the engine. */
const GRACE_MS = 30_000;
/** Restarts of our own accord are at least so far apart. */
const RESTART_EVERY_MS = 60_000;

/** The connections of somebody who may not have them any more. */
interface Leftover {
  userId: string;
  sinceMs: number;
  /** What was counted when it was last looked, and since when that stands still. */
  bytes: number;
  stillSinceMs: number;
  told: boolean;
}

/**
 * Drives the proxy engine of this host: makes it match the rows, reads its counters, cuts off who is past date or quota.
 * Runs in the owning process only, one call at a time.
 */
@Injectable()
export class XrayEngine implements EngineHandler, OnModuleInit {
  readonly id = XRAY_ENGINE;
  private capability: ProxyCapability = {
    family: null,
    version: null,
    external: false,
    protocols: [],
    networks: [],
    securities: [],
    flows: [],
    onlineUsers: false,
    message: 'The proxy engine was not looked for yet',
    hint: null,
  };
  /** Null: nobody wants an engine yet. */
  private inbound: WantedInbound | null = null;
  private users = new Map<string, WantedUser>();
  /** By the engine's id of the user. */
  private readonly leftovers = new Map<string, Leftover>();
  private live = false;
  private problem: Error | null = null;
  private loadedAt = 0;
  private epoch: number | null = null;
  private restartedAt = -Infinity;
  private reconciledAt = -Infinity;

  constructor(
    private readonly config: Config,
    private readonly engines: EnginesService,
    private readonly port: ProxyEnginePort,
    private readonly rows: XrayRowsService,
    private readonly books: TrafficBooks,
    private readonly events: EventsService,
    private readonly clock: Clock,
    private readonly log: AppLogger,
  ) {}

  onModuleInit(): void {
    this.engines.register(this);
  }

  async takeOver(): Promise<void> {
    this.leftovers.clear();
    this.live = false;
    this.epoch = null;
    this.capability = await this.port.capability();
    await this.load();
    await this.books.open();
    if (this.absent()) return;
    await this.bringInLine();
    await this.cut([...this.users.values()].filter((user) => user.removed));
    await this.rows.retireStrays();
  }

  async letGo(): Promise<void> {
    this.live = false;
  }

  health(): EngineHealth {
    const { message, hint } = this.capability;
    if (this.config.xray === 'off') return { state: 'absent', message: 'Xray is switched off', hint: null };
    if (this.absent()) return { state: 'absent', message, hint };
    if (!this.inbound) return { state: 'up', message: `${message}; it is started for the first user`, hint };
    if (!this.live) return { state: 'down', message: this.problem?.message ?? 'The engine is not up yet', hint };
    const active = [...this.users.values()].filter((user) => user.active).length;
    const parts = [`${message}, ${active} users on port ${this.inbound.port}`];
    if (this.problem) parts.push(this.problem.message);
    if (this.books.problem) parts.push(this.books.problem);
    return { state: 'up', message: parts.join('; '), hint: this.books.problem ? this.books.hint : hint };
  }

  async apply(keys: readonly string[]): Promise<Failures> {
    const failures = new Map<string, Error>();
    const ids = keys.filter((key) => key.startsWith('user:')).map((key) => key.slice('user:'.length));
    if (keys.includes(XRAY_INBOUND_KEY) || (!this.live && ids.length > 0)) {
      const failure = await this.reload();
      if (failure) for (const key of keys) failures.set(key, asDomainError(failure));
      return failures;
    }
    if (ids.length === 0) return failures;
    try {
      await this.applyUsers(ids);
    } catch (error) {
      this.noteProblem(error);
      for (const id of ids) failures.set(`user:${id}`, asDomainError(error));
    }
    return failures;
  }

  /** `reload` and `sync`: any row may be another one, or gone. */
  async command(name: string): Promise<unknown> {
    if (name === 'capability') return this.refreshedCapability();
    if (name === 'status') return { capability: await this.refreshedCapability(), status: await this.port.status() };
    if (name === 'config') return this.port.readConfig();
    if (name === 'short-config') return withoutUsers(await this.port.readConfig());
    if (name === 'collect') return this.collectNow();
    if (name === 'restart') return this.restart();
    if (name !== 'reload' && name !== 'sync') throw new Error(`Unknown command ${name}`);
    await this.measure();
    const failure = await this.reload();
    if (failure && !this.absent()) throw asDomainError(failure);
    await this.rows.retireStrays();
    return null;
  }

  /** One round: measure, enforce, repair. Called by the timer. */
  async poll(): Promise<void> {
    if (this.config.xray === 'off') return;
    if (this.absent()) this.capability = await this.port.capability();
    if (this.clock.monotonicMs() - this.loadedAt > RELOAD_EVERY_MS) await this.load();
    if (!this.absent() && this.inbound && !this.live) await this.bringInLine();
    const reading = this.live ? await this.read() : null;
    const { enabled } = await this.rows.collector();
    if (reading && enabled) await this.books.collect(reading, this.users, this.capability);
    if (!enabled) await this.books.pause();
    await this.enforce();
    if (reading) await this.watchLeftovers(reading);
    await this.finishRemovals(reading);
    if (reading) await this.reconcile(reading);
  }

  private absent(): boolean {
    return this.capability.family === null && this.config.xrayApi === null;
  }

  private async refreshedCapability(): Promise<ProxyCapability> {
    this.capability = await this.port.capability();
    return this.capability;
  }

  private async load(): Promise<void> {
    const [inbound, users] = await Promise.all([this.rows.inbound(), this.rows.users()]);
    if (!this.absent()) await this.books.takeUp();
    this.inbound = inbound;
    this.users = new Map(users.map((user) => [user.userId, user]));
    this.loadedAt = this.clock.monotonicMs();
  }

  private spec(inbound: WantedInbound): EngineSpec {
    const { flow, restartToCut: _unused, ownAddresses, ...rest } = inbound;
    const users = [...this.users.values()].filter((user) => user.active).map((user) => specOf(user, flow));
    return {
      inbounds: [{ ...rest, users }],
      accessLogPath: this.rows.accessLogPath,
      reachableAddresses: ownAddresses,
    };
  }

  /** Reads the rows anew and makes the engine match them; gives the reason when that cannot be. */
  private async reload(): Promise<Error | null> {
    if (this.absent()) this.capability = await this.port.capability();
    const before = this.users;
    await this.load();
    const failure = await this.bringInLine();
    if (!failure) await this.cut([...before.values()].filter((user) => this.mayNot(user)));
    return failure;
  }

  /** The user was let in as this and is no longer. */
  private mayNot(was: WantedUser): boolean {
    const now = this.users.get(was.userId);
    return was.active && !(now?.active && now.generation === was.generation);
  }

  private async bringInLine(): Promise<Error | null> {
    try {
      if (this.absent()) throw engineUnavailable(this.id, this.capability.message, this.capability.hint);
      if (!this.inbound) {
        await this.port.stop();
        this.live = false;
        this.problem = null;
        return null;
      }
      // A start anew takes the counters with it.
      if (this.live) await this.measure();
      const { restarted } = await this.port.ensureEngine(this.spec(this.inbound));
      if (restarted) {
        this.leftovers.clear();
        this.epoch = null;
      }
      this.live = true;
      this.problem = null;
      this.reconciledAt = this.clock.monotonicMs();
      return null;
    } catch (error) {
      return this.noteProblem(error);
    }
  }

  private async applyUsers(ids: string[]): Promise<void> {
    const rows = new Map((await this.rows.users(ids)).map((user) => [user.userId, user]));
    const gone: WantedUser[] = [];
    const welcome: WantedUser[] = [];
    for (const id of ids) {
      const was = this.users.get(id);
      const now = rows.get(id);
      if (now) this.users.set(id, now);
      else this.users.delete(id);
      if (was && was.generation !== now?.generation) gone.push(was);
      if (now?.active) welcome.push(now);
      else if (now) gone.push(now);
    }
    const inbound = this.inbound;
    if (!inbound) throw engineUnavailable(this.id, 'There is no inbound');
    await this.port.removeUsers(inbound.tag, gone.map(engineIdOf));
    await this.port.addUsers(
      inbound.tag,
      welcome.map((user) => specOf(user, inbound.flow)),
    );
    for (const user of welcome) this.leftovers.delete(engineIdOf(user));
    await this.cut(gone);
  }

  /** Closes the connections of users who are off the engine, and has an eye on them from now on. */
  private async cut(gone: readonly WantedUser[]): Promise<void> {
    if (gone.length === 0) return;
    const now = this.clock.monotonicMs();
    for (const user of gone) {
      this.leftovers.set(engineIdOf(user), {
        userId: user.userId,
        sinceMs: now,
        bytes: 0,
        stillSinceMs: now,
        told: false,
      });
    }
    try {
      await this.books.look(this.users, this.capability);
      await this.port.cutOff([...new Set(gone.flatMap((user) => this.books.addressesOf(user.userId)))]);
    } catch (error) {
      // They are watched: what goes on moving is seen.
      this.log.warn('connections of users who were cut off could not be closed', { error: String(error) });
    }
  }

  private async read(): Promise<UsageReading | null> {
    try {
      return await this.port.readUsage();
    } catch (error) {
      this.noteProblem(error);
      return null;
    }
  }

  /** Now and then, and when somebody else started the engine with the users of a file that may be old. */
  private async reconcile(reading: UsageReading): Promise<void> {
    const anew = this.epoch !== null && reading.epoch !== this.epoch;
    this.epoch = reading.epoch;
    if (anew) {
      this.log.info('the proxy engine was started anew');
      this.leftovers.clear();
    }
    if (anew || this.clock.monotonicMs() - this.reconciledAt > RELOAD_EVERY_MS) await this.bringInLine();
  }

  /** Books what the engine shows now, as well as that goes. */
  private async measure(): Promise<void> {
    if (!this.live) return;
    try {
      if (!(await this.rows.collector()).enabled) return;
      await this.books.collect(await this.port.readUsage(), this.users, this.capability);
    } catch (error) {
      this.log.warn('the last bytes could not be read', { error: String(error) });
    }
  }

  private async collectNow(): Promise<null> {
    if (!this.inbound) return null;
    if (!this.live) {
      const failure = await this.bringInLine();
      if (failure) throw asDomainError(failure);
    }
    try {
      const reading = await this.port.readUsage();
      await this.books.collect(reading, this.users, this.capability);
    } catch (error) {
      throw asDomainError(this.noteProblem(error));
    }
    await this.enforce();
    return null;
  }

  private async restart(): Promise<null> {
    if (this.absent()) throw engineUnavailable(this.id, this.capability.message, this.capability.hint);
    await this.measure();
    await this.load();
    if (!this.inbound) throw xrayInboundMissing();
    try {
      await this.port.restart(this.spec(this.inbound));
    } catch (error) {
      throw asDomainError(this.noteProblem(error));
    }
    this.live = true;
    this.problem = null;
    this.epoch = null;
    this.leftovers.clear();
    this.restartedAt = this.clock.monotonicMs();
    return null;
  }

  /** Cuts off who is past date or quota: in the rows first, then on the engine. */
  private async enforce(): Promise<void> {
    const ended = await this.rows.endDue();
    if (ended.length === 0 || !this.live) return;
    try {
      await this.applyUsers(ended.map((user) => user.userId));
    } catch (error) {
      this.log.warn('a cut-off is not on the engine yet and is tried again', { error: String(error) });
      this.noteProblem(error);
      this.live = false;
    }
  }

  /** Who was cut off and still moves bytes: cut again, and after the grace time by a restart where that is allowed. */
  private async watchLeftovers(reading: UsageReading): Promise<void> {
    if (this.leftovers.size === 0) return;
    const now = this.clock.monotonicMs();
    const bytes = new Map(reading.users.map((user) => [user.id, user.upBytes + user.downBytes]));
    const moving: [string, Leftover][] = [];
    for (const [engineId, leftover] of this.leftovers) {
      const counted = bytes.get(engineId) ?? 0;
      const moved = counted > leftover.bytes && leftover.bytes > 0;
      if (counted !== leftover.bytes) leftover.stillSinceMs = now;
      leftover.bytes = counted;
      if (moved) moving.push([engineId, leftover]);
      else if (now - leftover.stillSinceMs > GRACE_MS && now - leftover.sinceMs > GRACE_MS) {
        this.leftovers.delete(engineId);
      }
    }
    if (moving.length === 0) return;
    const overdue = moving.filter(([, leftover]) => now - leftover.sinceMs > GRACE_MS);
    if (overdue.length > 0 && this.inbound?.restartToCut && now - this.restartedAt > RESTART_EVERY_MS) {
      await this.tell(overdue, 'The engine is restarted: connections of users who were cut off still moved bytes');
      await this.restart();
      return;
    }
    await this.port
      .cutOff([...new Set(moving.flatMap(([, leftover]) => this.books.addressesOf(leftover.userId)))])
      .catch((error: unknown) => this.log.warn('connections could not be closed', { error: String(error) }));
    const untold = overdue.filter(([, leftover]) => !leftover.told);
    if (untold.length === 0) return;
    for (const [, leftover] of untold) leftover.told = true;
    await this.tell(
      untold,
      'Connections of users who were cut off still move bytes; a restart of the engine ends them',
    );
  }

  private tell(leftovers: [string, Leftover][], message: string): Promise<void> {
    const users = leftovers.map(([, { userId }]) => this.users.get(userId)?.email ?? userId);
    return this.events.record({
      type: 'XRAY',
      severity: 'WARN',
      service: 'xray',
      action: 'connections_left_over',
      target: users[0] ?? null,
      message,
      details: { users },
    });
  }

  /** The rows of removed users go when nothing of theirs moves any more, or there is no engine where it could. */
  private async finishRemovals(reading: UsageReading | null): Promise<void> {
    const watched = new Set([...this.leftovers.values()].map((leftover) => leftover.userId));
    const engineGone = this.absent() || !this.inbound;
    if (!reading && !engineGone) return;
    const removed = [...this.users.values()].filter((user) => user.removed && !watched.has(user.userId));
    if (removed.length === 0) return;
    const ids = removed.map((user) => user.userId);
    if (reading) await this.books.bookLast(reading, new Set(ids));
    await this.rows.finishRemovals(ids);
    for (const id of ids) {
      this.users.delete(id);
      this.books.forget(id);
    }
  }

  private noteProblem(error: unknown): Error {
    const problem = error instanceof Error ? error : new Error(String(error));
    if (this.problem?.message !== problem.message) {
      this.log.warn('the proxy engine has a problem', { error: problem.message });
    }
    this.problem = problem;
    // A refusal leaves what served before.
    if (!(problem instanceof ProxyRefusedError)) this.live = false;
    return problem;
  }
}

function specOf(user: WantedUser, flow: ProxyUserSpec['flow']): ProxyUserSpec {
  return { id: engineIdOf(user), uuid: user.uuid, flow };
}

/** Whose credentials are many is not told: `clients` of each inbound becomes their number. */
function withoutUsers(config: Record<string, unknown> | null): Record<string, unknown> | null {
  const text = JSON.stringify(config, (key: string, value: unknown) =>
    key === 'clients' && Array.isArray(value) ? `${value.length} users` : value,
  );
  return JSON.parse(text) as Record<string, unknown> | null;
}

function asDomainError(error: unknown): DomainError {
  if (error instanceof DomainError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return error instanceof ProxyRefusedError
    ? engineRefused(XRAY_ENGINE, message)
    : engineUnavailable(XRAY_ENGINE, message);
}
