import { setTimeout as delay } from 'node:timers/promises';
import { Injectable, type BeforeApplicationShutdown } from '@nestjs/common';
import { AppLogger } from '../../platform/logging/app-logger.js';

const RETRY_MS = 500;
const SLOWEST_RETRY_MS = 30_000;

/**
 * Takes back what was stored for an action that then failed. While the database is away it is tried again, until it is
 * done or the process ends: who was told of an error must not find the action done later.
 */
@Injectable()
export class UndoService implements BeforeApplicationShutdown {
  private readonly stopping = new AbortController();

  constructor(private readonly log: AppLogger) {}

  beforeApplicationShutdown(): void {
    this.stopping.abort();
  }

  /** Returns after the first try, whatever came of it. `undo` may run more than once; `what` is for the log. */
  async run(what: string, undo: () => Promise<void>): Promise<void> {
    try {
      await undo();
    } catch (error) {
      this.log.warn('what failed is taken back later', { what, err: error });
      void this.repeat(what, undo);
    }
  }

  private async repeat(what: string, undo: () => Promise<void>): Promise<void> {
    for (let waitMs = RETRY_MS; ; waitMs = Math.min(waitMs * 2, SLOWEST_RETRY_MS)) {
      try {
        await delay(waitMs, undefined, { signal: this.stopping.signal, ref: false });
        await undo();
        this.log.info('what failed is taken back', { what });
        return;
      } catch {
        if (!this.stopping.signal.aborted) continue;
        this.log.error('what failed was not taken back before the stop', { what });
        return;
      }
    }
  }
}
