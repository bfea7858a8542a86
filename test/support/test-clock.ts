import { Clock } from '../../src/platform/clock/clock.js';

/** Stands still until it is told to move on. */
export class TestClock extends Clock {
  constructor(private at: number = Date.UTC(2026, 5, 15, 12)) {
    super();
  }

  advance(milliseconds: number): void {
    this.at += milliseconds;
  }

  override now(): Date {
    return new Date(this.at);
  }

  override nowMs(): number {
    return this.at;
  }

  override monotonicMs(): number {
    return this.at;
  }
}
