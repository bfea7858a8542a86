import { Injectable, type OnModuleInit } from '@nestjs/common';
import { Interval } from '@nestjs/schedule';
import { Clock } from '../../platform/clock/clock.js';
import { AppLogger } from '../../platform/logging/app-logger.js';
import { EnginesService } from '../engines/engines.service.js';
import { WIREGUARD_ENGINE } from '../interfaces/interfaces.service.js';
import { AlertsService } from '../settings/alerts.service.js';
import { SettingsService } from '../settings/settings.service.js';
import { WireguardEngine } from './wireguard.engine.js';

const TICK_MS = 500;

/** Keeps devices and books in step with the rows: on a timer where the engine is driven, and when asked. */
@Injectable()
export class SyncService implements OnModuleInit {
  private lastPollAt = -Infinity;
  private polling = false;
  private readonly listeners: (() => Promise<void>)[] = [];

  constructor(
    private readonly engines: EnginesService,
    private readonly engine: WireguardEngine,
    private readonly settings: SettingsService,
    private readonly alerts: AlertsService,
    private readonly clock: Clock,
    private readonly log: AppLogger,
  ) {}

  onModuleInit(): void {
    this.settings.onChange(['mtu', 'ipv6'], () => this.engines.apply(WIREGUARD_ENGINE, 'devices'));
    this.settings.onChange(['allow_peers', 'allow_host', 'allow_lan'], () =>
      this.engines.apply(WIREGUARD_ENGINE, 'firewall'),
    );
    this.alerts.register(async () => {
      const health = await this.engines.healthOf(WIREGUARD_ENGINE);
      return health.state === 'up' ? [] : [`WireGuard: ${health.message}`];
    });
  }

  /**
   * Measures, enforces and repairs now, whichever process drives the devices, and returns when that is done. Errors:
   * `engine_busy` while another asked-for sync runs, `engine_unavailable`.
   */
  async sync(): Promise<void> {
    await this.engines.command(WIREGUARD_ENGINE, 'sync');
    await this.tellListeners();
  }

  /** Calls `listener` after each sync. What it throws is logged. */
  afterSync(listener: () => Promise<void>): void {
    this.listeners.push(listener);
  }

  @Interval(TICK_MS)
  async tick(): Promise<void> {
    if (this.polling || !this.engines.drives(WIREGUARD_ENGINE)) return;
    this.polling = true;
    try {
      const everyMs = (await this.settings.get('sync_interval')) * 1000;
      if (this.clock.monotonicMs() - this.lastPollAt < everyMs) return;
      this.lastPollAt = this.clock.monotonicMs();
      await this.engines.whileOwner(WIREGUARD_ENGINE, () => this.engine.poll());
      await this.tellListeners();
    } catch (error) {
      this.log.error('sync failed and is tried again', { err: error });
    } finally {
      this.polling = false;
    }
  }

  private async tellListeners(): Promise<void> {
    for (const listener of this.listeners) {
      await listener().catch((error: unknown) => this.log.error('work after sync failed', { err: error }));
    }
  }
}
