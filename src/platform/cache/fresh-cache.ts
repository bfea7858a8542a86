import type { Clock } from '../clock/clock.js';

export interface FreshCacheOptions {
  maxAgeMs: number;
  /** The oldest entries go first. */
  maxEntries: number;
}

interface Entry<V> {
  value: Promise<V>;
  at: number;
  /** Undefined until it is there. */
  loaded: V | undefined;
}

/**
 * Keeps what was loaded for a short while. Callers that ask at once share one load; a load that began before a `drop`
 * is never given to those who ask after it; a failed load is not kept.
 */
export class FreshCache<V, K = string> {
  private readonly entries = new Map<K, Entry<V>>();

  constructor(
    private readonly clock: Clock,
    private readonly options: FreshCacheOptions,
  ) {}

  get(key: K, load: () => Promise<V>): Promise<V> {
    const known = this.entries.get(key);
    const now = this.clock.monotonicMs();
    if (known && now - known.at < this.options.maxAgeMs) return known.value;
    const entry: Entry<V> = { value: load(), at: now, loaded: undefined };
    this.entries.delete(key);
    this.entries.set(key, entry);
    if (this.entries.size > this.options.maxEntries) this.drop(this.entries.keys().next().value as K);
    entry.value.then(
      (value) => (entry.loaded = value),
      () => {
        if (this.entries.get(key) === entry) this.entries.delete(key);
      },
    );
    return entry.value;
  }

  /** What `get` would give without loading; undefined when it would load, or wait. */
  peek(key: K): V | undefined {
    const known = this.entries.get(key);
    return known && this.clock.monotonicMs() - known.at < this.options.maxAgeMs ? known.loaded : undefined;
  }

  drop(key: K): void {
    this.entries.delete(key);
  }

  clear(): void {
    this.entries.clear();
  }
}
