import { Injectable, type OnModuleInit } from '@nestjs/common';
import { Interval } from '@nestjs/schedule';
import { Clock } from '../../platform/clock/clock.js';
import { AppLogger } from '../../platform/logging/app-logger.js';
import { EnginesService } from '../engines/engines.service.js';
import { AlertsService } from '../settings/alerts.service.js';
import { SettingsService } from '../settings/settings.service.js';
import { XRAY_ENGINE } from './xray-engine-keys.js';
import { XrayEngine } from './xray.engine.js';

const TICK_MS = 500;

/** Keeps the proxy engine and the books in step with the rows, on a timer where the engine is driven. */
@Injectable()
export class XraySyncService implements OnModuleInit {
  private lastPollAt = -Infinity;
  private polling = false;

  constructor(
    private readonly engines: EnginesService,
    private readonly engine: XrayEngine,
    private readonly settings: SettingsService,
    private readonly alerts: AlertsService,
    private readonly clock: Clock,
    private readonly log: AppLogger,
  ) {}

  onModuleInit(): void {
    this.alerts.register(async () => {
      const health = await this.engines.healthOf(XRAY_ENGINE);
      // An installation for WireGuard alone needs no proxy engine.
      return health.state === 'down' ? [`Xray: ${health.message}`] : [];
    });
  }

  @Interval(TICK_MS)
  async tick(): Promise<void> {
    if (this.polling || !this.engines.drives(XRAY_ENGINE)) return;
    this.polling = true;
    try {
      const everyMs = (await this.settings.get('sync_interval')) * 1000;
      if (this.clock.monotonicMs() - this.lastPollAt < everyMs) return;
      this.lastPollAt = this.clock.monotonicMs();
      await this.engines.whileOwner(XRAY_ENGINE, () => this.engine.poll());
    } catch (error) {
      this.log.error('polling the proxy engine failed and is tried again', { err: error });
    } finally {
      this.polling = false;
    }
  }
}
