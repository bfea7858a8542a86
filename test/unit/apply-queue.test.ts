import { describe, expect, it } from 'vitest';
import { ApplyQueue, type Failures } from '../../src/domain/engines/apply-queue.js';

function gate(): { opened: Promise<void>; open(): void } {
  let open = (): void => undefined;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

describe('the apply queue', () => {
  it('serves all keys that wait while the engine is busy by one call', async () => {
    const calls: string[][] = [];
    const first = gate();
    const queue = new ApplyQueue(async (keys): Promise<Failures> => {
      calls.push(keys);
      if (calls.length === 1) await first.opened;
      return new Map();
    });
    const one = queue.request('a');
    await Promise.resolve();
    const rest = [queue.request('b'), queue.request('c'), queue.request('b')];
    first.open();
    await Promise.all([one, ...rest]);
    expect(calls).toEqual([['a'], ['b', 'c']]);
  });

  it('serves a key again that is asked for while its row is being read', async () => {
    const calls: string[][] = [];
    const first = gate();
    const queue = new ApplyQueue(async (keys): Promise<Failures> => {
      calls.push(keys);
      if (calls.length === 1) await first.opened;
      return new Map();
    });
    const before = queue.request('a');
    await Promise.resolve();
    const after = queue.request('a');
    first.open();
    await Promise.all([before, after]);
    expect(calls).toEqual([['a'], ['a']]);
  });

  it('fails the keys that the engine named and no others', async () => {
    const queue = new ApplyQueue((keys) =>
      Promise.resolve(new Map(keys.filter((key) => key === 'bad').map((key) => [key, new Error('refused')]))),
    );
    const results = await Promise.allSettled([queue.request('good'), queue.request('bad')]);
    expect(results.map((result) => result.status)).toEqual(['fulfilled', 'rejected']);
  });

  it('fails every key of a batch that throws, and goes on with the next', async () => {
    let broken = true;
    const queue = new ApplyQueue(() => (broken ? Promise.reject(new Error('gone')) : Promise.resolve(new Map())));
    await expect(queue.request('a')).rejects.toThrow('gone');
    broken = false;
    await expect(queue.request('a')).resolves.toBeUndefined();
  });

  it('runs exclusive work between batches, one at a time, whatever it throws', async () => {
    const order: string[] = [];
    const queue = new ApplyQueue((keys) => {
      order.push(keys.join());
      return Promise.resolve(new Map());
    });
    const failing = queue.exclusive(() => {
      order.push('exclusive');
      return Promise.reject(new Error('no'));
    });
    const key = queue.request('a');
    await expect(failing).rejects.toThrow('no');
    await key;
    expect(order).toEqual(['exclusive', 'a']);
  });
});
