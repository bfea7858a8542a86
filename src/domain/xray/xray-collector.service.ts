import { Injectable } from '@nestjs/common';
import { InjectDataSource } from '@nestjs/typeorm';
import { DataSource } from 'typeorm';
import { Clock } from '../../platform/clock/clock.js';
import { EnginesService } from '../engines/engines.service.js';
import { UsageService } from '../usage/usage.service.js';
import { XRAY_ENGINE } from './xray-engine-keys.js';
import { XraySettingsService } from './xray-settings.service.js';

export interface CollectorStatus {
  enabled: boolean;
  script: string;
  /** Days (UTC) between today and `newestDate`; null before the first collection. */
  lagDays: number | null;
  /** The day of the last collection, `YYYY-MM-DD`. */
  newestDate: string | null;
  collectedAt: Date | null;
}

/** The collector: reads the engine's counters and its access log into the books. */
@Injectable()
export class XrayCollectorService {
  constructor(
    @InjectDataSource() private readonly dataSource: DataSource,
    private readonly engines: EnginesService,
    private readonly settings: XraySettingsService,
    private readonly usage: UsageService,
    private readonly clock: Clock,
  ) {}

  async status(): Promise<CollectorStatus> {
    const [row] = await this.dataSource.query<{ collected_at: Date | null }[]>(
      'SELECT collected_at FROM xray_settings WHERE id = 1',
    );
    const collectedAt = row?.collected_at ?? null;
    const dayOf = (ms: number) => Math.floor(ms / 86_400_000);
    return {
      ...(await this.settings.collector()),
      lagDays: collectedAt && Math.max(0, dayOf(this.clock.nowMs()) - dayOf(collectedAt.getTime())),
      newestDate: collectedAt && collectedAt.toISOString().slice(0, 10),
      collectedAt,
    };
  }

  /** Switches polling on or off, restarts included. While it is off nothing is counted and no quota ends anybody. */
  async setEnabled(enabled: boolean, script?: string): Promise<void> {
    await this.settings.update({ collector: { enabled, ...(script === undefined ? {} : { script }) } });
  }

  /**
   * Collects now, also while the collector is off. `includeToday` moves what was counted into today's days and hours at
   * once; otherwise that happens at the end of the minute. Errors: `engine_unavailable`, `engine_busy`.
   */
  async run(includeToday: boolean): Promise<void> {
    await this.engines.assertUp(XRAY_ENGINE);
    await this.engines.command(XRAY_ENGINE, 'collect');
    if (includeToday) await this.usage.bookSamples(this.clock.now());
  }
}
