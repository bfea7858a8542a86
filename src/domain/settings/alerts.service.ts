import { Injectable } from '@nestjs/common';
import { AppLogger } from '../../platform/logging/app-logger.js';

/** Warnings of one part of the product that hold at this moment; [] when all is well. Each is one sentence. */
export type AlertSource = () => string[] | Promise<string[]>;

const SOURCE_LIMIT_MS = 2_000;

/** What an operator should know now. Parts that can be in trouble register a source when they start. */
@Injectable()
export class AlertsService {
  private readonly sources: AlertSource[] = [];

  constructor(private readonly log: AppLogger) {}

  register(source: AlertSource): void {
    this.sources.push(source);
  }

  /** All live warnings, in the order of registration. A source that fails or hangs has nothing to say. */
  async live(): Promise<string[]> {
    return (await Promise.all(this.sources.map((source) => this.ask(source)))).flat();
  }

  private async ask(source: AlertSource): Promise<string[]> {
    let timer: NodeJS.Timeout | undefined;
    const limit = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error('no answer in time')), SOURCE_LIMIT_MS);
    });
    try {
      return await Promise.race([Promise.resolve().then(source), limit]);
    } catch (error) {
      this.log.warn('a source of alerts does not answer', { error: String(error) });
      return [];
    } finally {
      clearTimeout(timer);
    }
  }
}
