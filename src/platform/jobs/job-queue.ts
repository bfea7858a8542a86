import type PgBoss from 'pg-boss';
import type { AppLogger } from '../logging/app-logger.js';
import { redact } from '../logging/redaction.js';

/** What a handler is told of its job. */
export interface JobRun {
  id: string;
  /** Aborted when the job's time is over or the process must end now. */
  signal: AbortSignal;
  /** 0 on the first run. */
  retryCount: number;
  /** No further run will come when this one fails. */
  lastTry: boolean;
}

/** Does one job. Throwing means that it failed and is tried again, up to the retry limit. */
export type JobHandler<Data extends object> = (data: Data, run: JobRun) => Promise<void>;

/** Times are seconds. */
export interface JobOptions {
  /** Jobs of this queue at once in this process, 1 by default. */
  concurrency?: number;
  /** How often to look for jobs, 2 by default, 0.5 at least. */
  pollingIntervalSeconds?: number;
  /** Runs after the first one, 5 by default. */
  retryLimit?: number;
  /** Before the first retry, 5 by default. */
  retryDelay?: number;
  /** Doubles the delay from retry to retry; true by default. */
  retryBackoff?: boolean;
  /** Longest run, 300 by default; a process that died with the job gives it back after this time. */
  expireInSeconds?: number;
  /** `short`: one waiting job a key; `singleton`: one running; `stately`: one waiting and one running. */
  policy?: 'standard' | 'short' | 'singleton' | 'stately';
  /** Queue, defined before, that gets the data of a job that failed for good. */
  deadLetter?: string;
}

const SETTLE_RETRY_MS = 1_000;

/**
 * Fetches and runs the jobs of one queue. pg-boss's own workers are not used: they leave the promise of a job's
 * completion alone, so a database that restarts at that moment would end the process.
 */
export class JobQueue {
  private readonly expireInSeconds: number;
  /** One for each job under way. */
  private readonly underWay = new Set<AbortController>();
  private readonly sleepers = new Set<() => void>();
  private loops: Promise<void>[] = [];
  private wakes = 0;
  private stopped = false;
  private givenUp = false;

  constructor(
    private readonly name: string,
    private readonly handler: JobHandler<object>,
    private readonly options: JobOptions,
    private readonly boss: PgBoss,
    private readonly log: AppLogger,
  ) {
    this.expireInSeconds = options.expireInSeconds ?? 300;
  }

  /** Makes the queue's tables, or brings its options up to date. One process at a time. */
  async create(): Promise<void> {
    const { retryLimit = 5, retryDelay = 5, retryBackoff = true, policy = 'standard', deadLetter } = this.options;
    const queue: PgBoss.Queue = {
      name: this.name,
      retryLimit,
      retryDelay,
      retryBackoff,
      policy,
      expireInSeconds: this.expireInSeconds,
      ...(deadLetter === undefined ? {} : { deadLetter }),
    };
    // pg-boss writes into the object that it is given.
    await this.boss.createQueue(this.name, { ...queue });
    await this.boss.updateQueue(this.name, { ...queue });
  }

  start(): void {
    this.loops = Array.from({ length: this.options.concurrency ?? 1 }, () => this.loop());
  }

  /** Looks for jobs now. */
  wake(): void {
    this.wakes += 1;
    for (const wake of this.sleepers) wake();
  }

  /** Takes no more jobs, waits for the running ones, and ends them at the limit. */
  async stop(limitMs: number): Promise<void> {
    this.stopped = true;
    this.wake();
    const timer = setTimeout(() => {
      this.givenUp = true;
      for (const controller of this.underWay) controller.abort(new Error('The server was stopped'));
      this.wake();
    }, limitMs);
    await Promise.all(this.loops);
    clearTimeout(timer);
  }

  private async loop(): Promise<void> {
    while (!this.stopped) {
      const seen = this.wakes;
      const job = await this.next();
      if (job) await this.run(job);
      else if (seen === this.wakes) await this.pause((this.options.pollingIntervalSeconds ?? 2) * 1000);
    }
  }

  private async next(): Promise<PgBoss.JobWithMetadata | null> {
    try {
      const [job] = await this.boss.fetch<object>(this.name, { includeMetadata: true });
      return job ?? null;
    } catch {
      // The outage is logged where connections are made.
      return null;
    }
  }

  private async run(job: PgBoss.JobWithMetadata): Promise<void> {
    const controller = new AbortController();
    this.underWay.add(controller);
    const timer = setTimeout(
      () => controller.abort(new Error(`The job took longer than ${this.expireInSeconds} s`)),
      this.expireInSeconds * 1000,
    );
    const lastTry = job.retryCount >= job.retryLimit;
    let settle: () => Promise<unknown> = () => this.boss.complete(this.name, job.id);
    try {
      const run: JobRun = { id: job.id, signal: controller.signal, retryCount: job.retryCount, lastTry };
      await orAbort(this.handler(job.data, run), controller.signal);
    } catch (error) {
      this.log.warn('job failed', { queue: this.name, job: job.id, lastTry, err: error });
      const reason = { message: redact(error instanceof Error ? error.message : String(error)) };
      settle = () => this.boss.fail(this.name, job.id, reason);
    } finally {
      clearTimeout(timer);
      this.underWay.delete(controller);
    }
    await this.untilDone(settle);
  }

  /** A job whose end cannot be written is run again when its time is over, so it is worth to wait for the database. */
  private async untilDone(settle: () => Promise<unknown>): Promise<void> {
    for (;;) {
      try {
        await settle();
        return;
      } catch (error) {
        if (this.givenUp) {
          this.log.warn('end of a job could not be written, it will run again', { queue: this.name, err: error });
          return;
        }
        await this.pause(SETTLE_RETRY_MS);
      }
    }
  }

  private async pause(milliseconds: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const wake = () => {
        clearTimeout(timer);
        this.sleepers.delete(wake);
        resolve();
      };
      const timer = setTimeout(wake, milliseconds);
      this.sleepers.add(wake);
    });
  }
}

/** The work's result, or the signal's reason as soon as it is aborted, even if the work goes on regardless. */
async function orAbort(work: Promise<void>, signal: AbortSignal): Promise<void> {
  let stop: (() => void) | undefined;
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason as Error);
    signal.addEventListener('abort', stop, { once: true });
  });
  try {
    await Promise.race([work, aborted]);
  } finally {
    if (stop) signal.removeEventListener('abort', stop);
  }
}
