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

/** Once a minute, in one process: samples are booked, and partitions kept half a minute later. */
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
    await this.once('usage-partitions', () => this.retention.createAhead(this.clock.now()));
  }

  @Cron('0 * * * * *', { name: 'usage-samples', waitForCompletion: true })
  async bookSamples(): Promise<void> {
    // When it fails the counters keep what moved for the next minute.
    await this.once('usage-samples', () => this.usage.bookSamples(new Date(this.clock.nowMs() - HALF_A_MINUTE_MS)));
  }

  /** Apart from the booking, which must not wait while a day of many subjects is folded. */
  @Cron('30 * * * * *', { name: 'usage-partitions', waitForCompletion: true })
  async keepPartitions(): Promise<void> {
    await this.once('usage-partitions', () => this.retention.maintain(this.clock.now()));
  }

  private async once(name: string, work: () => Promise<unknown>): Promise<void> {
    if (this.config.role === 'api') return;
    try {
      await withLock(this.dataSource, name, work);
    } catch (error) {
      this.log.warn('periodic work failed and is tried again in a minute', { work: name, err: error });
    }
  }
}
