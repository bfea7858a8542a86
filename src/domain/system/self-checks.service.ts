import { Injectable } from '@nestjs/common';
import { Clock } from '../../platform/clock/clock.js';
import { AppLogger } from '../../platform/logging/app-logger.js';
import { DomainError } from '../domain-error.js';
import { type CheckOutcome, type InstallationCheck, InstallationChecks } from './installation.checks.js';

export interface CheckResult extends CheckOutcome {
  durationMs: number;
}

export interface CheckState {
  name: string;
  description: string;
  /** `pending`: it has not been run since this process started. */
  status: 'pending' | 'running' | 'passed' | 'failed';
  /** Of the run before, while one is under way. */
  last: CheckResult | null;
}

export interface CheckProgress {
  running: boolean;
  /** Checks of the present run that have ended, or of the last one. */
  done: number;
  total: number;
  /** When the last whole run ended; null before the first. */
  lastRunAt: Date | null;
}

/** Checks of the running installation. Each ends within its own limit, so a run does; callers at once share one. */
@Injectable()
export class SelfChecksService {
  private readonly checks: InstallationCheck[];
  private readonly results = new Map<string, CheckResult>();
  private readonly open = new Set<string>();
  private current: Promise<ReadonlyMap<string, CheckResult>> | null = null;
  private lastRunAt: Date | null = null;

  constructor(
    checks: InstallationChecks,
    private readonly clock: Clock,
    private readonly log: AppLogger,
  ) {
    this.checks = checks.all();
  }

  /** Runs all checks, or waits for the run that is under way. Never rejects. */
  run(): Promise<ReadonlyMap<string, CheckResult>> {
    this.current ??= this.runAll().finally(() => {
      this.current = null;
    });
    return this.current;
  }

  list(): CheckState[] {
    return this.checks.map(({ name, description }) => {
      const last = this.results.get(name) ?? null;
      const settled = last === null ? 'pending' : last.ok ? 'passed' : 'failed';
      return { name, description, status: this.open.has(name) ? 'running' : settled, last };
    });
  }

  progress(): CheckProgress {
    const total = this.checks.length;
    const running = this.current !== null;
    const done = running ? total - this.open.size : this.lastRunAt === null ? 0 : total;
    return { running, done, total, lastRunAt: this.lastRunAt };
  }

  private async runAll(): Promise<ReadonlyMap<string, CheckResult>> {
    for (const { name } of this.checks) this.open.add(name);
    await Promise.all(
      this.checks.map(async (check) => {
        this.results.set(check.name, await this.runOne(check));
        this.open.delete(check.name);
      }),
    );
    this.lastRunAt = this.clock.now();
    return new Map(this.results);
  }

  private async runOne({ name, limitMs, run }: InstallationCheck): Promise<CheckResult> {
    const began = this.clock.monotonicMs();
    let timer: NodeJS.Timeout | undefined;
    const limit = new Promise<CheckOutcome>((resolve) => {
      const message = `It did not end within ${limitMs / 1000} s`;
      timer = setTimeout(() => resolve({ ok: false, message, hint: 'What it looks at hangs' }), limitMs);
    });
    try {
      const outcome = await Promise.race([limit, run().catch((error: unknown) => this.faultOf(name, error))]);
      return { ...outcome, durationMs: Math.round(this.clock.monotonicMs() - began) };
    } finally {
      clearTimeout(timer);
    }
  }

  private faultOf(name: string, error: unknown): CheckOutcome {
    this.log.warn('a self-check could not be made', { check: name, err: error });
    const message = error instanceof DomainError ? error.message : 'What it looks at does not answer';
    return { ok: false, message, hint: 'The log of the server says why' };
  }
}
