import { describe, expect, it } from 'vitest';
import { FixedWindowStorage } from '../../src/http/limits/fixed-window.storage.js';
import { addressKey, cleanForwardedFor } from '../../src/http/request-caller.js';

describe('counting in fixed windows', () => {
  it('lets through so many hits, and begins anew when the window is over', () => {
    let now = 1_000;
    const storage = new FixedWindowStorage(() => now);
    const hit = () => storage.count('a', 60_000, 2);
    expect(hit()).toEqual({ totalHits: 1, timeToExpire: 60, isBlocked: false, timeToBlockExpire: 0, endsAt: 61 });
    now += 30_500;
    expect(hit()).toMatchObject({ totalHits: 2, timeToExpire: 30, isBlocked: false, endsAt: 61 });
    expect(hit()).toMatchObject({ totalHits: 3, isBlocked: true, timeToBlockExpire: 30 });
    now += 29_500;
    expect(hit()).toMatchObject({ totalHits: 1, timeToExpire: 60, isBlocked: false });
  });

  it('counts each key apart', () => {
    const storage = new FixedWindowStorage(() => 0);
    storage.count('a', 60_000, 1);
    expect(storage.count('b', 60_000, 1).isBlocked).toBe(false);
    expect(storage.count('a', 60_000, 1).isBlocked).toBe(true);
  });

  it('stays bounded when every request has another key, and forgets the oldest', () => {
    let now = 0;
    const storage = new FixedWindowStorage(() => now, 100);
    for (let index = 0; index < 1_000; index += 1) {
      now += 1;
      storage.count(`key ${index}`, 60_000, 1);
    }
    expect(storage.size).toBe(100);
    expect(storage.count('key 999', 60_000, 1).isBlocked).toBe(true);
    expect(storage.count('key 0', 60_000, 1).isBlocked).toBe(false);
  });

  it('drops all windows that are over when it needs room', () => {
    let now = 0;
    const storage = new FixedWindowStorage(() => now, 10);
    for (let index = 0; index < 10; index += 1) storage.count(`old ${index}`, 1_000, 1);
    now = 2_000;
    storage.count('new', 1_000, 1);
    expect(storage.size).toBe(1);
  });
});

describe('the key of an address', () => {
  it('is the address for IPv4, also when it is written as IPv6', () => {
    expect(addressKey('192.0.2.7')).toBe('192.0.2.7');
    expect(addressKey('::ffff:192.0.2.7')).toBe('192.0.2.7');
  });

  it('is the /64 for IPv6: one subscriber has all of it', () => {
    expect(addressKey('2001:db8:0:1::1')).toBe(addressKey('2001:db8:0:1:ffff::9'));
    expect(addressKey('2001:db8:0:1::1')).not.toBe(addressKey('2001:db8:0:2::1'));
  });
});

describe('X-Forwarded-For', () => {
  it('counts as far as it holds addresses', () => {
    expect(cleanForwardedFor('192.0.2.7, 2001:db8::1')).toBe('192.0.2.7, 2001:db8::1');
    expect(cleanForwardedFor('192.0.2.7:4711,[2001:db8::1]:443')).toBe('192.0.2.7, 2001:db8::1');
    expect(cleanForwardedFor(['unknown', `${'x'.repeat(5000)}, 192.0.2.7`])).toBe('192.0.2.7');
    expect(cleanForwardedFor('unknown, _hidden, 999.1.1.1, <script>')).toBeNull();
  });
});
