import type { OnApplicationShutdown } from '@nestjs/common';
import { Redis } from 'ioredis';
import { FixedWindowStorage, type LimitStorage, recordOf, type WindowRecord } from './fixed-window.storage.js';

/** One round trip, atomic: counts and starts the window when there is none. */
const SCRIPT = `
local hits = redis.call('INCR', KEYS[1])
local left = redis.call('PTTL', KEYS[1])
if left < 0 then
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
  left = tonumber(ARGV[1])
end
return { hits, left }`;

const WARN_EVERY_MS = 60_000;

/**
 * Counts hits in fixed windows that all replicas share. While Redis does not answer within 250 ms, this process counts
 * alone and says so in the log once a minute: a cache that is down must not shut the API.
 */
export class RedisStorage implements LimitStorage, OnApplicationShutdown {
  private readonly redis: Redis;
  private readonly fallback = new FixedWindowStorage();
  private warnedAt = 0;

  constructor(
    url: string,
    private readonly warn: (message: string) => void,
  ) {
    this.redis = new Redis(url, {
      lazyConnect: true,
      enableOfflineQueue: false,
      maxRetriesPerRequest: 0,
      connectTimeout: 2_000,
      commandTimeout: 250,
      retryStrategy: (times) => Math.min(times * 200, 5_000),
      keyPrefix: 'causeway:limit:',
    });
    this.redis.on('error', (error: Error) => this.say(error));
    this.redis.connect().catch((error: Error) => this.say(error));
  }

  async increment(key: string, ttl: number, limit: number): Promise<WindowRecord> {
    try {
      const [hits, left] = (await this.redis.eval(SCRIPT, 1, key, ttl)) as [number, number];
      const now = Date.now();
      return recordOf(hits, now + left, now, limit);
    } catch (error) {
      this.say(error as Error);
      return this.fallback.count(key, ttl, limit);
    }
  }

  onApplicationShutdown(): void {
    this.redis.disconnect();
  }

  private say(error: Error): void {
    if (Date.now() - this.warnedAt < WARN_EVERY_MS) return;
    this.warnedAt = Date.now();
    this.warn(`Redis does not answer, limits are counted by this process alone: ${error.message}`);
  }
}
