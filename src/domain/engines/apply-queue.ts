/** What became of one batch: the keys that failed, each with its reason. Keys that are not named are done. */
export type Failures = ReadonlyMap<string, Error>;

interface Waiter {
  resolve(): void;
  reject(reason: Error): void;
}

/**
 * Serialises all work on one engine. Keys that wait while the engine is busy are served together by one call of
 * `apply`; a key asked for during a call is served by the next one, since the running call may have read its row
 * before it changed.
 */
export class ApplyQueue {
  private waiting = new Map<string, Waiter[]>();
  private tail: Promise<unknown> = Promise.resolve();
  private scheduled = false;

  constructor(private readonly apply: (keys: string[]) => Promise<Failures>) {}

  /** Resolves once the engine matches what `key` names; rejects with the reason that `apply` gave for it. */
  request(key: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const waiters = this.waiting.get(key);
      if (waiters) waiters.push({ resolve, reject });
      else this.waiting.set(key, [{ resolve, reject }]);
      this.schedule();
    });
  }

  /** Runs `task` alone on the engine: after what is running now, before what comes later. */
  exclusive<T>(task: () => Promise<T>): Promise<T> {
    const result = this.tail.then(task);
    this.tail = result.catch(() => undefined);
    return result;
  }

  private schedule(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    void this.exclusive(async () => {
      this.scheduled = false;
      const batch = this.waiting;
      this.waiting = new Map();
      let failures: Failures;
      try {
        failures = await this.apply([...batch.keys()]);
      } catch (error) {
        const reason = error instanceof Error ? error : new Error(String(error));
        failures = new Map([...batch.keys()].map((key) => [key, reason]));
      }
      for (const [key, waiters] of batch) {
        const reason = failures.get(key);
        for (const waiter of waiters) {
          if (reason) waiter.reject(reason);
          else waiter.resolve();
        }
      }
    });
  }
}
