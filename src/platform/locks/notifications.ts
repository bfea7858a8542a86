import { EventEmitter } from 'node:events';
import { Inject, Injectable, type OnApplicationShutdown, type OnModuleInit } from '@nestjs/common';
import { DATABASE_URL_TOKEN } from '../database-url.js';
import { AppLogger } from '../logging/app-logger.js';
import type { SqlExecutor } from '../sql-executor.js';
import { type Heartbeat, SessionConnection } from './session-connection.js';

// PostgreSQL takes payloads of less than 8,000 bytes.
const MAX_PAYLOAD_BYTES = 7_900;
const HEARTBEAT: Heartbeat = { everyMs: 10_000, limitMs: 3_000 };
const FIRST_RETRY_MS = 100;
const LAST_RETRY_MS = 5_000;
const NOTIFY_WAIT_MS = 5_000;

type Handler = (payload: unknown) => void | Promise<void>;

/**
 * LISTEN and NOTIFY on one connection per process, which comes back by itself. What is sent while it is away is lost:
 * `reconnected` tells listeners to read afresh what they follow. Senders hear their own notifications too.
 */
@Injectable()
export class Notifications extends EventEmitter<{ reconnected: [] }> implements OnModuleInit, OnApplicationShutdown {
  private readonly handlers = new Map<string, Handler[]>();
  private connection: SessionConnection | null = null;
  private running: Promise<void> | null = null;
  private stopped = false;
  private wake: (() => void) | null = null;
  private readonly waiters = new Set<() => void>();
  private listening: Promise<unknown> = Promise.resolve();

  constructor(
    @Inject(DATABASE_URL_TOKEN) private readonly databaseUrl: string,
    private readonly log: AppLogger,
  ) {
    super();
  }

  onModuleInit(): Promise<void> {
    return this.start();
  }

  onApplicationShutdown(): Promise<void> {
    return this.stop();
  }

  /** Connects, and goes on trying in the background when that does not succeed at once. */
  start(): Promise<void> {
    if (this.running) return Promise.resolve();
    this.stopped = false;
    return new Promise((resolve) => {
      this.running = this.run(resolve);
    });
  }

  async stop(): Promise<void> {
    this.stopped = true;
    this.wake?.();
    await this.connection?.close();
    await this.running;
    this.running = null;
  }

  /** Calls `handler` with each payload sent on the channel, from now on. What a handler throws is logged. */
  listen(channel: string, handler: Handler): void {
    const name = checkChannel(channel);
    const known = this.handlers.get(name);
    if (known) {
      known.push(handler);
      return;
    }
    this.handlers.set(name, [handler]);
    // A failure is a lost connection, and the next one listens to all channels.
    if (this.connection) this.listening = this.connection.query(`LISTEN ${name}`).catch(() => undefined);
  }

  /** Resolves when the channels asked for so far are listened to; at most 5 s, then rejects. */
  async whenListening(): Promise<void> {
    await this.connected();
    await this.listening;
  }

  /**
   * Sends a payload of at most 7.9 kB of JSON. With a `manager` it goes out when that transaction commits, and never
   * when it does not. Without one it waits at most 5 s for the connection. Rejects when it could not be sent.
   */
  async notify(channel: string, payload: unknown, manager?: SqlExecutor): Promise<void> {
    const text = JSON.stringify(payload ?? null);
    if (Buffer.byteLength(text) > MAX_PAYLOAD_BYTES) {
      throw new RangeError(`The notification on ${channel} has more than ${MAX_PAYLOAD_BYTES} bytes`);
    }
    const values = [checkChannel(channel), text];
    if (manager) await manager.query('SELECT pg_notify($1, $2)', values);
    else await (await this.connected()).query('SELECT pg_notify($1, $2)', values);
  }

  private async run(firstTryDone: () => void): Promise<void> {
    let retryMs = FIRST_RETRY_MS;
    let first = true;
    while (!this.stopped) {
      try {
        const connection = await SessionConnection.open(this.databaseUrl, 'notifications', HEARTBEAT);
        if (this.stopped) return await connection.close();
        connection.onNotification((channel, payload) => this.deliver(channel, payload));
        this.connection = connection;
        const channels = [...this.handlers.keys()];
        if (channels.length > 0) await connection.query(channels.map((name) => `LISTEN ${name}`).join('; '));
        retryMs = FIRST_RETRY_MS;
        for (const resolve of this.waiters) resolve();
        firstTryDone();
        if (!first) {
          this.log.info('notifications are back');
          this.emit('reconnected');
        }
        first = false;
        const reason = await connection.lost;
        if (!this.stopped) this.log.warn('notifications are interrupted', { reason });
      } catch (error) {
        if (retryMs === FIRST_RETRY_MS) this.log.warn('notifications cannot connect', { err: error });
        // Whoever follows something has missed notifications even if the very first connection came late.
        first = false;
      } finally {
        await this.connection?.close();
        this.connection = null;
      }
      firstTryDone();
      await this.pause(retryMs);
      retryMs = Math.min(retryMs * 2, LAST_RETRY_MS);
    }
  }

  private deliver(channel: string, text: string): void {
    let payload: unknown;
    try {
      payload = JSON.parse(text);
    } catch {
      this.log.warn('notification is no JSON', { channel });
      return;
    }
    for (const handler of this.handlers.get(channel) ?? []) {
      void (async () => handler(payload))().catch((error: unknown) => {
        this.log.error('notification handler failed', { channel, err: error });
      });
    }
  }

  private async connected(): Promise<SessionConnection> {
    if (this.connection?.alive) return this.connection;
    await new Promise<void>((resolve, reject) => {
      const done = (error?: Error) => {
        clearTimeout(timer);
        this.waiters.delete(done);
        if (error) reject(error);
        else resolve();
      };
      const timer = setTimeout(() => done(new Error('The database cannot be reached to notify')), NOTIFY_WAIT_MS);
      this.waiters.add(done);
    });
    if (!this.connection) throw new Error('The database cannot be reached to notify');
    return this.connection;
  }

  private async pause(milliseconds: number): Promise<void> {
    if (this.stopped) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.wake = null;
  }
}

/** Channel names go into statements as they are: identifiers only. */
function checkChannel(channel: string): string {
  if (!/^[a-z_][a-z0-9_]{0,62}$/.test(channel)) throw new Error(`Not the name of a channel: ${channel}`);
  return channel;
}
