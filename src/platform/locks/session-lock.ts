import { EventEmitter } from 'node:events';
import type { AppLogger } from '../logging/app-logger.js';
import { type Heartbeat, SessionConnection } from './session-connection.js';

const RETRY_MS = 1_000;
const HEARTBEAT: Heartbeat = { everyMs: 2_000, limitMs: 3_000 };

/**
 * A PostgreSQL session lock on a connection of its own: at most one process of all has it, and it is free again when
 * that process or its connection dies. Emits `acquired`, and `lost` when the connection dropped (seen within 5 s); then
 * it goes on trying. A holder stops its work on `lost` at once.
 */
export class SessionLock extends EventEmitter<{ acquired: []; lost: [] }> {
  private connection: SessionConnection | null = null;
  private running: Promise<void> | null = null;
  private stopped = false;
  private wake: (() => void) | null = null;
  private has = false;

  constructor(
    private readonly databaseUrl: string,
    private readonly log: AppLogger,
  ) {
    super();
  }

  get held(): boolean {
    return this.has;
  }

  /** Tries for the lock every second until `release`. Resolves after the first try, whatever came of it. */
  acquire(name: string): Promise<void> {
    if (this.running) throw new Error(`The lock object is in use already, wanted for ${name}`);
    this.stopped = false;
    return new Promise((resolve) => {
      this.running = this.run(name, resolve);
    });
  }

  /** Gives the lock up, if it is held, and stops trying. Others can have it when this resolves. Emits nothing. */
  async release(): Promise<void> {
    this.stopped = true;
    this.has = false;
    this.wake?.();
    await this.connection?.close();
    await this.running;
    this.running = null;
  }

  private async run(name: string, firstTryDone: () => void): Promise<void> {
    let reachable = true;
    while (!this.stopped) {
      try {
        this.connection = await SessionConnection.open(this.databaseUrl, `lock ${name}`.slice(0, 63), HEARTBEAT);
        reachable = true;
        await this.holdOn(name, this.connection, firstTryDone);
      } catch (error) {
        // Said once for each outage, not once a second.
        if (reachable && !this.stopped) this.log.warn('lock cannot be asked for', { lock: name, err: error });
        reachable = false;
      }
      await this.connection?.close();
      this.connection = null;
      firstTryDone();
      await this.pause();
    }
  }

  private async holdOn(name: string, connection: SessionConnection, tried: () => void): Promise<void> {
    while (!this.stopped && connection.alive) {
      const [row] = await connection.query<{ got: boolean }>(
        'SELECT pg_try_advisory_lock(hashtextextended($1, 0)) AS got',
        [name],
      );
      if (row?.got && !this.stopped) {
        this.has = true;
        this.emit('acquired');
        tried();
        const reason = await connection.lost;
        if (!this.has) return;
        this.has = false;
        this.log.warn('lock lost', { lock: name, reason });
        this.emit('lost');
        return;
      }
      tried();
      await this.pause();
    }
  }

  private async pause(): Promise<void> {
    if (this.stopped) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, RETRY_MS);
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.wake = null;
  }
}
