import { describe, expect, it } from 'vitest';
import { eventually } from '../support/wait.js';

describe('eventually', () => {
  it('gives the first value that is there', async () => {
    let calls = 0;
    expect(await eventually(() => (++calls === 3 ? calls : null), { intervalMs: 1 })).toBe(3);
  });

  it('throws the last error at its time limit', async () => {
    const attempt = (): never => {
      throw new Error('still closed');
    };
    await expect(eventually(attempt, { timeoutMs: 5, intervalMs: 1 })).rejects.toThrow('still closed');
  });

  it('names what it waited for', async () => {
    const waited = eventually(() => false, { timeoutMs: 5, intervalMs: 1, what: 'the gate' });
    await expect(waited).rejects.toThrow('the gate did not come true within 5 ms');
  });
});
