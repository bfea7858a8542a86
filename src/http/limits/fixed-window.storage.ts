import { Injectable } from '@nestjs/common';
import type { ThrottlerStorage } from '@nestjs/throttler';

/** What a storage says of one more hit. Times are whole seconds. */
export interface WindowRecord extends Awaited<ReturnType<ThrottlerStorage['increment']>> {
  /** Epoch seconds: the same for all hits of a window. */
  endsAt: number;
}

/** A throttler's storage that also tells when the window ends. `ttl` in milliseconds. */
export interface LimitStorage extends ThrottlerStorage {
  increment(key: string, ttl: number, limit: number, block: number, name: string): Promise<WindowRecord>;
}

interface Window {
  hits: number;
  endsAt: number;
}

const MAX_WINDOWS = 100_000;

/**
 * Counts hits in fixed windows, in memory: O(1) a hit, where the throttler's own storage walks all hits of the window.
 * Past 100,000 keys the oldest windows go first, so an attacker with many addresses costs bounded memory.
 */
@Injectable()
export class FixedWindowStorage implements LimitStorage {
  private readonly windows = new Map<string, Window>();

  constructor(
    private readonly now: () => number = Date.now,
    private readonly capacity = MAX_WINDOWS,
  ) {}

  async increment(key: string, ttl: number, limit: number): Promise<WindowRecord> {
    return this.count(key, ttl, limit);
  }

  /** The same without a promise. `ttl` in milliseconds. */
  count(key: string, ttl: number, limit: number): WindowRecord {
    const now = this.now();
    let window = this.windows.get(key);
    if (window === undefined || window.endsAt <= now) {
      // Deleted first, so that the map stays in the order in which windows began.
      this.windows.delete(key);
      if (this.windows.size >= this.capacity) this.evict(now);
      window = { hits: 0, endsAt: now + ttl };
      this.windows.set(key, window);
    }
    window.hits += 1;
    return recordOf(window.hits, window.endsAt, now, limit);
  }

  get size(): number {
    return this.windows.size;
  }

  /** Drops the windows that are over, from the oldest on; at least one goes. */
  private evict(now: number): void {
    let dropped = 0;
    for (const [key, window] of this.windows) {
      if (dropped > 0 && window.endsAt > now) break;
      this.windows.delete(key);
      dropped += 1;
    }
  }
}

/** `endsAt` and `now` in Unix milliseconds. */
export function recordOf(hits: number, endsAt: number, now: number, limit: number): WindowRecord {
  const seconds = Math.max(1, Math.ceil((endsAt - now) / 1000));
  const isBlocked = hits > limit;
  return {
    totalHits: hits,
    timeToExpire: seconds,
    isBlocked,
    timeToBlockExpire: isBlocked ? seconds : 0,
    endsAt: Math.ceil(endsAt / 1000),
  };
}
