import { setTimeout as delay } from 'node:timers/promises';

type Absent = false | null | undefined;

/** Anything but void: an attempt without a return value would never be seen to succeed. */
type Present = object | string | number | boolean | bigint;

/**
 * Asks until `attempt` neither throws nor returns `false`, `null` or `undefined`, and gives what it returned; one that
 * only throws returns true at its end. At the time limit the last error is thrown, or one that names the wait.
 */
export async function eventually<T extends Present | null | undefined>(
  attempt: () => T | Promise<T>,
  options: { timeoutMs?: number; intervalMs?: number; what?: string } = {},
): Promise<Exclude<T, Absent>> {
  const { timeoutMs = 15_000, intervalMs = 50, what = 'the condition' } = options;
  const until = Date.now() + timeoutMs;
  for (;;) {
    let failure: unknown;
    try {
      const value: T = await attempt();
      if (isThere(value)) return value;
    } catch (error) {
      failure = error;
    }
    if (Date.now() >= until) {
      throw failure instanceof Error ? failure : new Error(`${what} did not come true within ${timeoutMs} ms`);
    }
    await delay(intervalMs);
  }
}

function isThere<T>(value: T): value is Exclude<T, Absent> {
  return value !== false && value !== null && value !== undefined;
}
