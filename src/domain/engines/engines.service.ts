import { randomUUID } from 'node:crypto';
import {
  Inject,
  Injectable,
  type BeforeApplicationShutdown,
  type OnApplicationBootstrap,
  type OnModuleInit,
} from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { Repository } from 'typeorm';
import { Config } from '../../platform/config/config.js';
import { DATABASE_URL_TOKEN } from '../../platform/database-url.js';
import { Notifications } from '../../platform/locks/notifications.js';
import { SessionLock } from '../../platform/locks/session-lock.js';
import { AppLogger } from '../../platform/logging/app-logger.js';
import { DomainError, type ErrorKind } from '../domain-error.js';
import { EventsService } from '../events/events.service.js';
import { ApplyQueue } from './apply-queue.js';
import type { EngineHandler, EngineHealth } from './engine.handler.js';
import { EngineStatus } from './engine-status.entity.js';
import { engineBusy, engineUnavailable } from './engines.errors.js';

const APPLY_LIMIT_MS = 5_000;
const START_LIMIT_MS = 10_000;
const COMMAND_LIMIT_MS = 120_000;
const TAKE_OVER_RETRY_MS = 2_000;
const STATUS_EVERY_MS = 5_000;
const STATUS_CACHE_MS = 1_000;
/** A status older than this means that nobody drives the engine. */
const STATUS_STALE_MS = 20_000;

interface EngineRequest {
  id: string;
  from: string;
  engine: string;
  kind: 'apply' | 'command';
  name: string;
}

interface EngineReply {
  id: string;
  to: string;
  /** The owner has the request; its outcome follows. */
  accepted?: true;
  result?: unknown;
  error?: { kind: ErrorKind; code: string; message: string; data: Record<string, unknown> };
}

interface Driven {
  handler: EngineHandler;
  queue: ApplyQueue;
  lock: SessionLock;
  owned: boolean;
  ready: boolean;
  failure: string | null;
  commands: Set<string>;
  retry: NodeJS.Timeout | null;
  lastState: string | null;
  /** Resolves after the first attempt to take the engine over, whatever came of it. */
  started: Promise<void>;
  markStarted(): void;
}

/**
 * One process drives each engine: the holder of its session lock. Requests of any process come here, are handed to
 * the owner (a call when it is this process, a notification otherwise), and wait a bounded time for its answer.
 */
@Injectable()
export class EnginesService implements OnModuleInit, OnApplicationBootstrap, BeforeApplicationShutdown {
  private readonly processId = randomUUID();
  private readonly driven = new Map<string, Driven>();
  private readonly pending = new Map<
    string,
    { accepted(): void; resolve(value: unknown): void; reject(reason: Error): void }
  >();
  private statuses: { readAt: number; rows: EngineStatus[] } = { readAt: 0, rows: [] };
  private statusTimer: NodeJS.Timeout | null = null;
  private stopping = false;

  constructor(
    private readonly config: Config,
    @Inject(DATABASE_URL_TOKEN) private readonly databaseUrl: string,
    @InjectRepository(EngineStatus) private readonly repository: Repository<EngineStatus>,
    private readonly notifications: Notifications,
    private readonly events: EventsService,
    private readonly log: AppLogger,
  ) {}

  /** Called by the module that can drive an engine, before the application has started. */
  register(handler: EngineHandler): void {
    let markStarted = (): void => undefined;
    const started = new Promise<void>((resolve) => {
      markStarted = resolve;
    });
    const driven: Driven = {
      handler,
      started,
      markStarted,
      queue: new ApplyQueue(async (keys) => {
        if (!driven.owned || !driven.ready) throw this.notReady(driven);
        const failures = await handler.apply(keys);
        this.noteHealth(driven);
        return failures;
      }),
      lock: new SessionLock(this.databaseUrl, this.log),
      owned: false,
      ready: false,
      failure: null,
      commands: new Set(),
      retry: null,
      lastState: null,
    };
    this.driven.set(handler.id, driven);
  }

  onModuleInit(): void {
    this.notifications.listen('engine_requests', (payload) => void this.serve(payload as EngineRequest));
    this.notifications.listen('engine_replies', (payload) => this.settle(payload as EngineReply));
    this.notifications.listen('engine_status', () => {
      this.statuses.readAt = 0;
    });
  }

  async onApplicationBootstrap(): Promise<void> {
    if (this.config.role === 'api') return;
    const firstTries: Promise<void>[] = [];
    for (const driven of this.driven.values()) {
      driven.lock.on('acquired', () => void this.takeOver(driven));
      driven.lock.on('lost', () => void this.letGo(driven));
      firstTries.push(
        driven.lock.acquire(`engine/${driven.handler.id}`).catch((error: unknown) => {
          this.log.warn('engine lock is not reachable yet', { engine: driven.handler.id, error: String(error) });
        }),
      );
    }
    this.statusTimer = setInterval(() => void this.publishAll(), STATUS_EVERY_MS);
    this.statusTimer.unref();
    await Promise.all(firstTries);
  }

  async beforeApplicationShutdown(): Promise<void> {
    this.stopping = true;
    if (this.statusTimer) clearInterval(this.statusTimer);
    for (const driven of this.driven.values()) {
      if (driven.owned) await this.letGo(driven);
      await driven.lock.release();
    }
  }

  /** This process drives the engine and has made it match the database at least once. */
  drives(engine: string): boolean {
    const driven = this.driven.get(engine);
    return driven !== undefined && driven.owned && driven.ready;
  }

  /**
   * Waits, at most 10 s, until it is known how the engine is: this process took it over or failed to, or another one
   * drives it.
   */
  async whenStarted(engine: string): Promise<void> {
    const driven = this.driven.get(engine);
    const rows = await this.status();
    if (!driven || this.config.role === 'api' || (!driven.owned && rows.some((row) => row.id === engine))) return;
    await withLimit(driven.started, START_LIMIT_MS, new Error('late')).catch(() => undefined);
  }

  /** Waits, as whenStarted() does, for all engines that this process drives. */
  async whenAllStarted(): Promise<void> {
    await Promise.all([...this.driven.keys()].map((engine) => this.whenStarted(engine)));
  }

  /** Throws `engine_unavailable` when the engine is known to be down or absent, before anything is written. */
  async assertUp(engine: string): Promise<void> {
    const health = await this.healthOnceStarted(engine);
    if (health.state !== 'up') throw engineUnavailable(engine, health.message, health.hint);
  }

  /**
   * Throws `engine_unavailable` when the engine is absent or nobody drives it. One that is down passes: for changes that
   * may be what mends it.
   */
  async assertDriven(engine: string): Promise<void> {
    const health = await this.healthOnceStarted(engine);
    if (health.state === 'up' || (health.state === 'down' && (await this.isDriven(engine)))) return;
    throw engineUnavailable(engine, health.message, health.hint);
  }

  /** What is known of one engine now, whichever process drives it. */
  async healthOf(engine: string): Promise<EngineHealth> {
    const driven = this.driven.get(engine);
    if (driven?.owned) return this.localHealth(driven);
    const row = (await this.status()).find((status) => status.id === engine);
    return row ?? { state: 'down', message: `No process drives the engine ${engine}`, hint: null };
  }

  /**
   * Has the owner read the row that `key` names and make the engine match it. Resolves when that is so; rejects with
   * `engine_refused`, or with `engine_unavailable` after at most 5 s, when what happened on the engine is unknown and
   * left to its reconciler.
   */
  async apply(engine: string, key: string): Promise<void> {
    const driven = this.driven.get(engine);
    const unknown = engineUnavailable(engine, `The engine ${engine} did not answer in time`);
    if (driven?.owned) await withLimit(driven.queue.request(key), APPLY_LIMIT_MS, unknown);
    else await this.ask({ engine, kind: 'apply', name: key }, APPLY_LIMIT_MS, unknown);
  }

  /** The same without waiting, for cut-offs and repairs that the reconciler would find by itself a little later. */
  applySoon(engine: string, key: string): void {
    this.apply(engine, key).catch((error: unknown) => {
      this.log.warn('engine change is left to the reconciler', { engine, key, error: String(error) });
    });
  }

  /** Runs a named command of the engine to its end; `engine_busy` while the same one is running. At most 2 min. */
  async command(engine: string, name: string): Promise<unknown> {
    const driven = this.driven.get(engine);
    const unknown = engineUnavailable(engine, `The engine ${engine} did not answer in time`);
    if (driven?.owned) return withLimit(this.runCommand(driven, name), COMMAND_LIMIT_MS, unknown);
    return this.ask({ engine, kind: 'command', name }, COMMAND_LIMIT_MS, unknown);
  }

  /** Runs `task` alone on an engine that this process drives; does nothing otherwise. For the engine's own timers. */
  async whileOwner(engine: string, task: () => Promise<void>): Promise<void> {
    const driven = this.driven.get(engine);
    if (!driven) return;
    await driven.queue.exclusive(async () => {
      if (!driven.owned || !driven.ready || this.stopping) return;
      await task();
      this.noteHealth(driven);
    });
  }

  /** All engines as their owners last saw them; an owner that fell silent counts as down. */
  async status(): Promise<EngineStatus[]> {
    if (Date.now() - this.statuses.readAt > STATUS_CACHE_MS) {
      this.statuses = { readAt: Date.now(), rows: await this.repository.find({ order: { id: 'ASC' } }) };
    }
    return this.statuses.rows.map((row) => {
      const driven = this.driven.get(row.id);
      if (driven?.owned) return { ...row, ...this.localHealth(driven), seenAt: new Date() };
      if (row.state !== 'absent' && isStale(row)) {
        return { ...row, state: 'down', message: `No process drives the engine ${row.id}`, hint: null };
      }
      return row;
    });
  }

  /** The first moments after a start are no outage: who asks then waits for what comes of it. */
  private async healthOnceStarted(engine: string): Promise<EngineHealth> {
    const driven = this.driven.get(engine);
    if (driven?.owned && !driven.ready && driven.failure === null) await this.whenStarted(engine);
    return this.healthOf(engine);
  }

  /** Some process drives it now, however the engine is. */
  private async isDriven(engine: string): Promise<boolean> {
    if (this.driven.get(engine)?.owned) return this.drives(engine);
    await this.status();
    return this.statuses.rows.some((row) => row.id === engine && !isStale(row));
  }

  private async takeOver(driven: Driven): Promise<void> {
    driven.owned = true;
    await driven.queue.exclusive(async () => {
      if (!driven.owned || this.stopping) return;
      try {
        await driven.handler.takeOver();
        // Ownership may have ended meanwhile, and with it the right to drive and to try again.
        if (!driven.owned) return;
        driven.ready = true;
        driven.failure = null;
        this.log.info('engine taken over', { engine: driven.handler.id });
      } catch (error) {
        this.log.error('engine could not be taken over', { engine: driven.handler.id, err: error });
        if (!driven.owned) return;
        driven.failure = error instanceof DomainError ? error.message : `${driven.handler.id} could not be taken over`;
        driven.retry = setTimeout(() => void this.takeOver(driven), TAKE_OVER_RETRY_MS);
        driven.retry.unref();
      }
    });
    driven.markStarted();
    await this.publish(driven);
  }

  private async letGo(driven: Driven): Promise<void> {
    if (!driven.owned) return;
    driven.owned = false;
    driven.ready = false;
    if (driven.retry) clearTimeout(driven.retry);
    await driven.queue.exclusive(() => driven.handler.letGo());
    this.log.info('engine let go', { engine: driven.handler.id });
  }

  private async runCommand(driven: Driven, name: string): Promise<unknown> {
    if (driven.commands.has(name)) throw engineBusy(driven.handler.id, name);
    driven.commands.add(name);
    try {
      return await driven.queue.exclusive(async () => {
        if (!driven.owned || !driven.ready) throw this.notReady(driven);
        const result = await driven.handler.command(name);
        this.noteHealth(driven);
        return result;
      });
    } finally {
      driven.commands.delete(name);
    }
  }

  private localHealth(driven: Driven): EngineHealth {
    if (driven.ready) return driven.handler.health();
    return {
      state: 'down',
      message: driven.failure ?? `The engine ${driven.handler.id} is being started`,
      hint: null,
    };
  }

  private notReady(driven: Driven): DomainError {
    const health = this.localHealth(driven);
    return engineUnavailable(driven.handler.id, health.message, health.hint);
  }

  /** Tells the others and the event log when an engine went up or down. */
  private noteHealth(driven: Driven): void {
    if (this.localHealth(driven).state !== driven.lastState) void this.publish(driven);
  }

  private async publishAll(): Promise<void> {
    for (const driven of this.driven.values()) if (driven.owned) await this.publish(driven);
  }

  private async publish(driven: Driven): Promise<void> {
    if (!driven.owned) return;
    const { id } = driven.handler;
    const health = this.localHealth(driven);
    const changed = health.state !== driven.lastState;
    const before = driven.lastState;
    driven.lastState = health.state;
    try {
      await this.repository.upsert({ id, ...health, seenAt: new Date() }, ['id']);
      if (!changed) return;
      await this.notifications.notify('engine_status', { id });
      if (before === null && health.state !== 'down') return;
      await this.events.record({
        type: 'ENGINE',
        severity: health.state === 'down' ? 'ERROR' : 'INFO',
        service: id,
        action: `engine_${health.state}`,
        // Found out by the owner, whoever's request it was working for.
        actor: 'system',
        target: id,
        message: health.message,
      });
    } catch (error) {
      driven.lastState = before;
      this.log.warn('engine status could not be stored', { engine: id, error: String(error) });
    }
  }

  private async ask(
    question: Pick<EngineRequest, 'engine' | 'kind' | 'name'>,
    limitMs: number,
    unknown: DomainError,
  ): Promise<unknown> {
    const id = randomUUID();
    let accepted = (): void => undefined;
    const acceptance = new Promise<void>((resolve) => {
      accepted = resolve;
    });
    const answer = new Promise<unknown>((resolve, reject) => this.pending.set(id, { accepted, resolve, reject }));
    try {
      await this.notifications.notify('engine_requests', { ...question, id, from: this.processId });
      // Nobody may own the engine at this moment: that is known long before a long command would be over.
      await withLimit(Promise.race([acceptance, answer]), APPLY_LIMIT_MS, unknown);
      return await withLimit(answer, limitMs, unknown);
    } finally {
      answer.catch(() => undefined);
      this.pending.delete(id);
    }
  }

  private async serve(request: EngineRequest): Promise<void> {
    const driven = this.driven.get(request.engine);
    if (!driven?.owned || request.from === this.processId) return;
    const reply: EngineReply = { id: request.id, to: request.from };
    try {
      if (request.kind === 'command') await this.notifications.notify('engine_replies', { ...reply, accepted: true });
      if (request.kind === 'apply') await driven.queue.request(request.name);
      else reply.result = await this.runCommand(driven, request.name);
    } catch (error) {
      const known =
        error instanceof DomainError ? error : engineUnavailable(request.engine, 'The engine failed unexpectedly');
      if (!(error instanceof DomainError)) this.log.error('engine request failed', { error: String(error) });
      reply.error = { kind: known.kind, code: known.code, message: known.message, data: known.data };
    }
    await this.notifications.notify('engine_replies', reply).catch((error: unknown) => {
      this.log.warn('engine answer could not be sent', { error: String(error) });
    });
  }

  private settle(reply: EngineReply): void {
    if (reply.to !== this.processId) return;
    const waiter = this.pending.get(reply.id);
    if (!waiter) return;
    if (reply.accepted) waiter.accepted();
    else if (!reply.error) waiter.resolve(reply.result);
    else {
      const { kind, code, message, data } = reply.error;
      waiter.reject(new DomainError(kind, code, message, data));
    }
  }
}

function isStale(row: EngineStatus): boolean {
  return Date.now() - row.seenAt.getTime() > STATUS_STALE_MS;
}

/** Waits for `work`, but no longer than `limitMs`; the work itself goes on. */
async function withLimit<T>(work: Promise<T>, limitMs: number, late: Error): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(late), limitMs);
  });
  try {
    return await Promise.race([work, limit]);
  } finally {
    clearTimeout(timer);
    work.catch(() => undefined);
  }
}
