import type { EngineState } from './engine-status.entity.js';
import type { Failures } from './apply-queue.js';

/** How an engine is doing, for operators. */
export interface EngineHealth {
  state: EngineState;
  /** One sentence. */
  message: string;
  /** The line that mends it, or null. */
  hint: string | null;
}

/**
 * The part of a domain module that drives one engine. Its methods are called in the owning process only, one at a
 * time (`health` excepted), so an implementation needs no lock of its own.
 */
export interface EngineHandler {
  readonly id: string;

  /** This process owns the engine from now on: adopt what runs, make it match the database. Failing is retried. */
  takeOver(): Promise<void>;

  /** Ownership ended: stop driving. The engine itself goes on running. */
  letGo(): Promise<void>;

  /** Reads the rows that the keys name and makes the engine match them. Throwing fails all keys. */
  apply(keys: readonly string[]): Promise<Failures>;

  /** Work on the whole engine, asked for by name (`sync`). */
  command(name: string): Promise<unknown>;

  /** From memory, never waits. */
  health(): EngineHealth;
}
