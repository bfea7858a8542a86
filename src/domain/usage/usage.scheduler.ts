import { Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { Cron } from '@nestjs/schedule';
import { InjectDataSource } from '@nestjs/typeorm';
import { DataSource } from 'typeorm';
import { Clock } from '../../platform/clock/clock.js';
import { Config } from '../../platform/config/config.js';
import { withLock } from '../../platform/locks/advisory-lock.js';
import { AppLogger } from '../../platform/logging/app-logger.js';
import { UsageRetentionService } from './usage-retention.service.js';
import { UsageService } from './usage.service.js';

/** What moved within a minute is booked when it is over, into its middle. */
const HALF_A_MINUTE_MS = 30_000;

/** Once a minute, in one process: samples are booked and partitions kept. */
@Injectable()
export class UsageScheduler implements OnApplicationBootstrap {
  constructor(
    @InjectDataSource() private readonly dataSource: DataSource,
    private readonly usage: UsageService,
    private readonly retention: UsageRetentionService,
    private readonly config: Config,
    private readonly clock: Clock,
    private readonly log: AppLogger,
  ) {}

  /** Partitions first, so that they are there before the first minute is booked. */
  async onApplicationBootstrap(): Promise<void> {
    if (this.config.role !== 'api') await this.once(() => this.retention.maintain(this.clock.now()));
  }

  @Cron('0 * * * * *', { name: 'usage', waitForCompletion: true })
  async everyMinute(): Promise<void> {
    if (this.config.role === 'api') return;
    await this.once(async () => {
      const now = this.clock.now();
      await this.usage.bookSamples(new Date(now.getTime() - HALF_A_MINUTE_MS));
      await this.retention.maintain(now);
    });
  }

  private async once(work: () => Promise<void>): Promise<void> {
    try {
      await withLock(this.dataSource, 'usage', work);
    } catch (error) {
      // Nothing is lost: the counters keep it for the next minute.
      this.log.warn('usage samples could not be booked', { err: error });
    }
  }
}
