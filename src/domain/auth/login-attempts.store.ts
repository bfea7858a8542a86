import { Redis } from 'ioredis';
import type { Clock } from '../../platform/clock/clock.js';

export interface FailureCount {
  failures: number;
  /** Unix milliseconds. */
  lastAt: number;
}

export interface Lifetime {
  ms: number;
  /** From the last failure on, instead of from the first. */
  sliding: boolean;
}

/** Where failed logins are counted. Keys are short and tell nothing of whose they are. */
export abstract class LoginAttemptsStore {
  abstract read(key: string): Promise<FailureCount | null>;
  abstract fail(key: string, lifetime: Lifetime): Promise<FailureCount>;
  abstract forget(key: string): Promise<void>;
  abstract trust(key: string, ms: number): Promise<void>;
  abstract isTrusted(key: string): Promise<boolean>;
  close(): void {}
}

/** Counts of this process alone. Past its capacity the entries that were touched longest ago go first. */
export class MemoryLoginAttempts extends LoginAttemptsStore {
  private readonly counts = new Map<string, FailureCount & { endsAt: number }>();
  private readonly trusted = new Map<string, number>();

  constructor(
    private readonly clock: Clock,
    private readonly capacity = 50_000,
  ) {
    super();
  }

  async read(key: string): Promise<FailureCount | null> {
    const count = this.counts.get(key);
    return count && count.endsAt > this.clock.nowMs() ? { failures: count.failures, lastAt: count.lastAt } : null;
  }

  async fail(key: string, lifetime: Lifetime): Promise<FailureCount> {
    const now = this.clock.nowMs();
    const known = this.counts.get(key);
    const before = known && known.endsAt > now ? known : null;
    const endsAt = before && !lifetime.sliding ? before.endsAt : now + lifetime.ms;
    const count = { failures: (before?.failures ?? 0) + 1, lastAt: now, endsAt };
    put(this.counts, key, count, this.capacity);
    return { failures: count.failures, lastAt: now };
  }

  async forget(key: string): Promise<void> {
    this.counts.delete(key);
  }

  async trust(key: string, ms: number): Promise<void> {
    put(this.trusted, key, this.clock.nowMs() + ms, this.capacity);
  }

  async isTrusted(key: string): Promise<boolean> {
    return (this.trusted.get(key) ?? 0) > this.clock.nowMs();
  }

  get size(): number {
    return this.counts.size + this.trusted.size;
  }
}

function put<V>(map: Map<string, V>, key: string, value: V, capacity: number): void {
  map.delete(key);
  if (map.size >= capacity) map.delete(map.keys().next().value!);
  map.set(key, value);
}

const FAIL = `
local failures = redis.call('HINCRBY', KEYS[1], 'failures', 1)
redis.call('HSET', KEYS[1], 'lastAt', ARGV[1])
if failures == 1 or ARGV[3] == '1' then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return failures`;

const WARN_EVERY_MS = 60_000;

/** Counts that all replicas share. While Redis does not answer, this process counts alone: it never stops counting. */
export class RedisLoginAttempts extends LoginAttemptsStore {
  private readonly redis: Redis;
  private readonly alone: MemoryLoginAttempts;
  private warnedAt = -Infinity;

  constructor(
    url: string,
    private readonly clock: Clock,
    private readonly warn: (message: string) => void,
  ) {
    super();
    this.alone = new MemoryLoginAttempts(clock);
    this.redis = new Redis(url, {
      lazyConnect: true,
      enableOfflineQueue: false,
      maxRetriesPerRequest: 0,
      connectTimeout: 2_000,
      commandTimeout: 500,
      retryStrategy: (times) => Math.min(times * 200, 5_000),
      keyPrefix: 'causeway:login:',
    });
    this.redis.on('error', (error: Error) => this.say(error));
  }

  /** Resolves when the first attempt to connect is over; later ones go on in the background. */
  async connect(): Promise<void> {
    await this.redis.connect().catch((error: Error) => this.say(error));
  }

  read(key: string): Promise<FailureCount | null> {
    return this.shared(
      async () => {
        const [failures, lastAt] = await this.redis.hmget(key, 'failures', 'lastAt');
        return failures && lastAt ? { failures: Number(failures), lastAt: Number(lastAt) } : null;
      },
      () => this.alone.read(key),
    );
  }

  fail(key: string, lifetime: Lifetime): Promise<FailureCount> {
    return this.shared(
      async () => {
        const lastAt = this.clock.nowMs();
        const failures = await this.redis.eval(FAIL, 1, key, lastAt, lifetime.ms, lifetime.sliding ? '1' : '0');
        return { failures: Number(failures), lastAt };
      },
      () => this.alone.fail(key, lifetime),
    );
  }

  async forget(key: string): Promise<void> {
    await this.alone.forget(key);
    await this.shared(
      () => this.redis.del(key),
      async () => 0,
    );
  }

  async trust(key: string, ms: number): Promise<void> {
    await this.shared<unknown>(
      () => this.redis.set(`trust:${key}`, '1', 'PX', ms),
      () => this.alone.trust(key, ms),
    );
  }

  isTrusted(key: string): Promise<boolean> {
    return this.shared(
      async () => (await this.redis.exists(`trust:${key}`)) === 1,
      () => this.alone.isTrusted(key),
    );
  }

  override close(): void {
    this.redis.disconnect();
  }

  private async shared<T>(work: () => Promise<T>, otherwise: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      this.say(error as Error);
      return otherwise();
    }
  }

  private say(error: Error): void {
    if (this.clock.monotonicMs() - this.warnedAt < WARN_EVERY_MS) return;
    this.warnedAt = this.clock.monotonicMs();
    this.warn(`Redis does not answer, failed logins are counted by this process alone: ${error.message}`);
  }
}
