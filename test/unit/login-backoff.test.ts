import { beforeEach, describe, expect, it } from 'vitest';
import { MemoryLoginAttempts } from '../../src/domain/auth/login-attempts.store.js';
import { type AttemptOutcome, LoginBackoff } from '../../src/domain/auth/login-backoff.js';
import { DomainError } from '../../src/domain/domain-error.js';
import { TestClock } from '../support/test-clock.js';

describe('the login back-off', () => {
  let clock: TestClock;
  let store: MemoryLoginAttempts;
  let backoff: LoginBackoff;

  beforeEach(() => {
    clock = new TestClock();
    store = new MemoryLoginAttempts(clock);
    backoff = new LoginBackoff(store, clock);
  });

  /** What a login would see: its outcome, or the seconds to wait. */
  const attempt = (
    account: string,
    address: string | null,
    outcome: AttemptOutcome,
  ): Promise<AttemptOutcome | number> =>
    backoff
      .attempt(account, address, async () => ({ outcome, value: null }))
      .then(
        (done) => done.outcome,
        (error: unknown) => {
          expect(error).toBeInstanceOf(DomainError);
          expect(error).toMatchObject({ kind: 'limited', code: 'login_limited' });
          return (error as DomainError).data['retryAfterSeconds'] as number;
        },
      );

  const fail = async (times: number, account: string, address: string): Promise<void> => {
    for (let index = 0; index < times; index += 1) expect(await attempt(account, address, 'wrong')).toBe('wrong');
  };

  it('lets five failures pass, then waits 30 s and twice as long each time, up to 15 min', async () => {
    await fail(5, 'admin', '192.0.2.1');
    for (const seconds of [30, 60, 120, 240, 480, 900, 900, 900]) {
      expect(await attempt('admin', '192.0.2.1', 'right')).toBe(seconds);
      clock.advance(seconds * 1000 - 1);
      expect(await attempt('admin', '192.0.2.1', 'right')).toBe(1);
      clock.advance(1);
      expect(await attempt('admin', '192.0.2.1', 'wrong')).toBe('wrong');
    }
  });

  it('does not look at the password while it waits', async () => {
    await fail(5, 'admin', '192.0.2.1');
    let looked = false;
    const check = async () => ((looked = true), { outcome: 'right' as const, value: null });
    await expect(backoff.attempt('admin', '192.0.2.1', check)).rejects.toThrow('try again in 30 s');
    expect(looked).toBe(false);
  });

  it('counts failures in a row only', async () => {
    for (let round = 0; round < 5; round += 1) {
      await fail(4, 'admin', '192.0.2.1');
      expect(await attempt('admin', '192.0.2.1', 'right')).toBe('right');
    }
  });

  it('neither counts nor forgives an attempt that only lacked a code', async () => {
    await fail(4, 'admin', '192.0.2.1');
    for (let index = 0; index < 9; index += 1) {
      expect(await attempt('admin', '192.0.2.1', 'unfinished')).toBe('unfinished');
    }
    await fail(1, 'admin', '192.0.2.1');
    expect(await attempt('admin', '192.0.2.1', 'right')).toBe(30);
  });

  it('keeps accounts and addresses apart, and takes a /64 of IPv6 and a mapped IPv4 for one', async () => {
    await fail(5, 'admin', '192.0.2.1');
    expect(await attempt('other', '192.0.2.1', 'wrong')).toBe('wrong');
    expect(await attempt('admin', '192.0.2.2', 'wrong')).toBe('wrong');
    expect(await attempt('admin', '::ffff:192.0.2.1', 'wrong')).toBe(30);
    await fail(5, 'admin', '2001:db8::1');
    expect(await attempt('admin', '2001:db8::ffff:2', 'wrong')).toBe(30);
    expect(await attempt('admin', '2001:db8:0:1::1', 'wrong')).toBe('wrong');
    expect(await attempt('admin', null, 'wrong')).toBe('wrong');
  });

  it('counts attempts that come at once like attempts one after the other', async () => {
    const outcomes = await Promise.all(Array.from({ length: 40 }, () => attempt('admin', '192.0.2.1', 'wrong')));
    expect(outcomes.filter((outcome) => outcome === 'wrong')).toHaveLength(5);
    const good = await Promise.all(Array.from({ length: 40 }, () => attempt('admin', '192.0.2.9', 'right')));
    expect(good.every((outcome) => outcome === 'right')).toBe(true);
  });

  it('goes on after an attempt that threw', async () => {
    const broken = () => Promise.reject(new Error('database down'));
    for (let index = 0; index < 9; index += 1) {
      await expect(backoff.attempt('admin', '192.0.2.1', broken)).rejects.toThrow('database down');
    }
    expect(await attempt('admin', '192.0.2.1', 'right')).toBe('right');
  });

  it('forgets failures after an hour without one', async () => {
    await fail(4, 'admin', '192.0.2.1');
    clock.advance(3_600_000);
    await fail(5, 'admin', '192.0.2.1');
    expect(await attempt('admin', '192.0.2.1', 'wrong')).toBe(30);
  });

  it('stops guessing from many addresses, and never keeps the owner out of where he logged in before', async () => {
    expect(await attempt('admin', '198.51.100.7', 'right')).toBe('right');
    for (let host = 0; host < 100; host += 1) await fail(1, 'admin', `203.0.113.${host}`);
    expect(await attempt('admin', '203.0.113.200', 'right')).toBe(30);
    expect(await attempt('admin', '198.51.100.7', 'right')).toBe('right');
    clock.advance(30_000);
    expect(await attempt('admin', '203.0.113.200', 'wrong')).toBe('wrong');
    expect(await attempt('admin', '203.0.113.201', 'right')).toBe(60);
    // His own mistakes count at his address as anyone's do, and not against the account.
    await fail(5, 'admin', '198.51.100.7');
    expect(await attempt('admin', '198.51.100.7', 'right')).toBe(30);
    clock.advance(3_600_000);
    expect(await attempt('admin', '203.0.113.201', 'right')).toBe('right');
  });

  it('cannot be brought to wait everywhere by one address that never gives up', async () => {
    for (let seconds = 0; seconds < 6 * 3600; seconds += 30) {
      await attempt('admin', '203.0.113.1', 'wrong');
      clock.advance(30_000);
    }
    expect(await attempt('admin', '198.51.100.7', 'right')).toBe('right');
  });

  it('costs bounded memory', async () => {
    const small = new MemoryLoginAttempts(clock, 100);
    const bounded = new LoginBackoff(small, clock);
    for (let index = 0; index < 500; index += 1) {
      await bounded.attempt(`user${index}`, '192.0.2.1', async () => ({ outcome: 'wrong', value: null }));
    }
    expect(small.size).toBe(100);
  });
});
