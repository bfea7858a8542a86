import { Injectable } from '@nestjs/common';

/** One part of the server, as `/readyz` shows it. */
export interface ReadinessItem {
  name: string;
  /** `absent`: this installation does without it, which is not a fault. */
  state: 'up' | 'down' | 'absent';
  message: string;
  /** The line that mends it, when something is wrong. */
  hint: string | null;
  /** When it was last seen, as `YYYY-MM-DDTHH:MM:SSZ`; null when it is asked just now. */
  seen_at: string | null;
}

export type ReadinessCheck = () => Promise<ReadinessItem[]>;

const CHECK_LIMIT_MS = 3_000;

/** Parts tell here how they do; http asks them all when somebody wants to know. */
@Injectable()
export class Readiness {
  private readonly checks = new Map<string, ReadinessCheck>();
  private stopping = false;

  add(name: string, check: ReadinessCheck): void {
    this.checks.set(name, check);
  }

  /** From now on the answer is no: balancers send nobody here any more. */
  stop(): void {
    this.stopping = true;
  }

  /** Asks all parts at once; one that does not answer within 3 s, or throws, is down. */
  async report(): Promise<{ ready: boolean; parts: ReadinessItem[] }> {
    const parts = (await Promise.all([...this.checks].map(([name, check]) => ask(name, check)))).flat();
    if (this.stopping) {
      parts.unshift({ name: 'server', state: 'down', message: 'This process is stopping', hint: null, seen_at: null });
    }
    return { ready: parts.every((part) => part.state !== 'down'), parts };
  }
}

async function ask(name: string, check: ReadinessCheck): Promise<ReadinessItem[]> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error('It did not answer in time')), CHECK_LIMIT_MS);
  });
  try {
    return await Promise.race([check(), limit]);
  } catch {
    return [{ name, state: 'down', message: `${name} does not answer`, hint: null, seen_at: null }];
  } finally {
    clearTimeout(timer);
  }
}
