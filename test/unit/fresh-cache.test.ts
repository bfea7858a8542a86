import { describe, expect, it } from 'vitest';
import { FreshCache } from '../../src/platform/cache/fresh-cache.js';
import { TestClock } from '../support/test-clock.js';

describe('a fresh cache', () => {
  const options = { maxAgeMs: 5_000, maxEntries: 3 };

  it('loads once for all who ask within its age', async () => {
    const clock = new TestClock();
    const cache = new FreshCache<number>(clock, options);
    let loads = 0;
    const load = async () => ++loads;
    expect(await Promise.all([cache.get('a', load), cache.get('a', load)])).toEqual([1, 1]);
    clock.advance(4_999);
    expect(await cache.get('a', load)).toBe(1);
    clock.advance(1);
    expect(await cache.get('a', load)).toBe(2);
  });

  it('never gives what was loaded before a drop to those who ask after it', async () => {
    const cache = new FreshCache<string>(new TestClock(), options);
    let finish = (_: string) => {};
    const early = cache.get('a', () => new Promise((resolve) => (finish = resolve)));
    cache.drop('a');
    const late = cache.get('a', async () => 'new');
    finish('old');
    expect(await early).toBe('old');
    expect(await late).toBe('new');
    expect(await cache.get('a', async () => 'newer')).toBe('new');
  });

  it('does not keep failures', async () => {
    const cache = new FreshCache<string>(new TestClock(), options);
    await expect(cache.get('a', () => Promise.reject(new Error('down')))).rejects.toThrow('down');
    expect(await cache.get('a', async () => 'up')).toBe('up');
  });

  it('holds a bounded number of entries', async () => {
    const cache = new FreshCache<string>(new TestClock(), options);
    for (const key of ['a', 'b', 'c', 'd']) await cache.get(key, async () => 'first');
    expect(await cache.get('a', async () => 'second')).toBe('second');
    expect(await cache.get('d', async () => 'second')).toBe('first');
  });

  it('tells without waiting what it has, while that is fresh', async () => {
    const clock = new TestClock();
    const cache = new FreshCache<string>(clock, options);
    expect(cache.peek('a')).toBeUndefined();
    const loading = cache.get('a', async () => 'first');
    expect(cache.peek('a')).toBeUndefined();
    await loading;
    expect(cache.peek('a')).toBe('first');
    cache.drop('a');
    expect(cache.peek('a')).toBeUndefined();
    await cache.get('a', async () => 'second');
    clock.advance(5_000);
    expect(cache.peek('a')).toBeUndefined();
  });
});
