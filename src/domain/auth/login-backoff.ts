import { createHash } from 'node:crypto';
import { Injectable, type OnApplicationShutdown } from '@nestjs/common';
import ipaddr from 'ipaddr.js';
import { Clock } from '../../platform/clock/clock.js';
import { loginLimited } from './auth.errors.js';
import { type FailureCount, type Lifetime, LoginAttemptsStore } from './login-attempts.store.js';

/** What came of one attempt. `unfinished`: neither right nor wrong (a code is missing, a database was down). */
export type AttemptOutcome = 'right' | 'wrong' | 'unfinished';

export interface Attempt<T> {
  outcome: AttemptOutcome;
  value: T;
}

const HOUR_MS = 3_600_000;
const FIRST_DELAY_MS = 30_000;
const LAST_DELAY_MS = 900_000;

/** Failures in a row from one address. */
const PAIR_FREE = 5;
const PAIR_LIFETIME: Lifetime = { ms: HOUR_MS, sliding: true };

// One address alone makes about a dozen an hour: it takes many addresses to get here.
const ACCOUNT_FREE = 100;
const ACCOUNT_LIFETIME: Lifetime = { ms: HOUR_MS, sliding: false };

const TRUSTED_MS = 30 * 24 * HOUR_MS;
const MOST_WAITING = 50;

/**
 * Slows down guessing. After 5 failures in a row an account waits at that address, 30 s and then twice as long each time,
 * up to 15 min. After 100 failures within an hour it waits at all addresses but those that it logged in from during the
 * last 30 days: many addresses cannot guess on, and cannot keep the owner out of where he usually is. The volume limits'
 * factor never touches this.
 */
@Injectable()
export class LoginBackoff implements OnApplicationShutdown {
  private readonly queues = new Map<string, { tail: Promise<unknown>; length: number }>();

  constructor(
    private readonly store: LoginAttemptsStore,
    private readonly clock: Clock,
  ) {}

  onApplicationShutdown(): void {
    this.store.close();
  }

  /**
   * Runs `check` when this account may be tried from this address now, and counts what came of it. Attempts for one
   * account and address take turns, so that many at once are counted like one after the other. Throws `login_limited`
   * with `retryAfterSeconds`.
   */
  async attempt<T>(account: string, address: string | null, check: () => Promise<Attempt<T>>): Promise<Attempt<T>> {
    const whole = `a:${digest(account)}`;
    const pair = `p:${digest(`${account}\n${addressGroup(address)}`)}`;
    return this.inTurn(pair, async () => {
      this.refuse(await this.store.read(pair), PAIR_FREE);
      const trusted = await this.store.isTrusted(pair);
      if (!trusted) this.refuse(await this.store.read(whole), ACCOUNT_FREE);
      const attempt = await check();
      if (attempt.outcome === 'right') {
        await this.store.forget(pair);
        await this.store.trust(pair, TRUSTED_MS);
      } else if (attempt.outcome === 'wrong') {
        await this.store.fail(pair, PAIR_LIFETIME);
        if (!trusted) await this.store.fail(whole, ACCOUNT_LIFETIME);
      }
      return attempt;
    });
  }

  private refuse(count: FailureCount | null, free: number): void {
    if (!count || count.failures < free) return;
    const delay = Math.min(FIRST_DELAY_MS * 2 ** Math.min(count.failures - free, 10), LAST_DELAY_MS);
    const left = Math.min(count.lastAt + delay - this.clock.nowMs(), delay);
    if (left > 0) throw loginLimited(Math.ceil(left / 1000));
  }

  private async inTurn<T>(key: string, work: () => Promise<T>): Promise<T> {
    const queue = this.queues.get(key) ?? { tail: Promise.resolve(), length: 0 };
    if (queue.length >= MOST_WAITING) throw loginLimited(1);
    queue.length += 1;
    this.queues.set(key, queue);
    const mine = queue.tail.then(work);
    queue.tail = mine.catch(() => undefined);
    try {
      return await mine;
    } finally {
      queue.length -= 1;
      if (queue.length === 0) this.queues.delete(key);
    }
  }
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('base64url').slice(0, 22);
}

/** One household or server has a whole /64 of IPv6. */
function addressGroup(address: string | null): string {
  if (address === null || !ipaddr.isValid(address)) return address ?? 'none';
  const parsed = ipaddr.process(address.replace(/%.*$/, ''));
  if (parsed.kind() === 'ipv4') return parsed.toString();
  return (parsed as ipaddr.IPv6).parts.slice(0, 4).join(':');
}
