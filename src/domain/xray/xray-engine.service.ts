import { Injectable } from '@nestjs/common';
import { FreshCache } from '../../platform/cache/fresh-cache.js';
import { Clock } from '../../platform/clock/clock.js';
import { EnginesService } from '../engines/engines.service.js';
import { EventsService } from '../events/events.service.js';
import type { EngineStatus, ProxyCapability } from './proxy-engine.port.js';
import { XRAY_ENGINE } from './xray-engine-keys.js';

/** Those who ask at once share one answer. */
const VIEW_CACHE = { maxAgeMs: 1_000, maxEntries: 1 };

export interface XrayEngineView {
  capability: ProxyCapability;
  status: EngineStatus;
}

/** The engine itself, for operators, whichever process drives it. */
@Injectable()
export class XrayEngineService {
  private readonly views: FreshCache<XrayEngineView>;

  constructor(
    private readonly engines: EnginesService,
    private readonly events: EventsService,
    clock: Clock,
  ) {
    this.views = new FreshCache(clock, VIEW_CACHE);
  }

  /** What there is and how it does. Asks the engine; `engine_unavailable` when no process drives it. */
  async status(): Promise<XrayEngineView> {
    return this.views.get('status', async () => {
      await this.engines.whenStarted(XRAY_ENGINE);
      return (await this.engines.command(XRAY_ENGINE, 'status')) as XrayEngineView;
    });
  }

  /**
   * The config that the engine was given, secrets masked; null while there is none. From another process than the one
   * that drives the engine users are left out, since there may be too many for a message.
   */
  async config(): Promise<Record<string, unknown> | null> {
    const name = this.engines.drives(XRAY_ENGINE) ? 'config' : 'short-config';
    return (await this.engines.command(XRAY_ENGINE, name)) as Record<string, unknown> | null;
  }

  /**
   * Starts the engine anew; all connections are cut; it answers again when this returns. Errors: `engine_refused`
   * (not ours to restart), `engine_busy`, `engine_unavailable`, `xray_inbound_missing`.
   */
  async restart(): Promise<void> {
    await this.engines.command(XRAY_ENGINE, 'restart');
    this.views.clear();
    await this.events.record({
      type: 'XRAY',
      service: 'xray',
      action: 'engine_restarted',
      target: XRAY_ENGINE,
      message: 'The engine was restarted on request',
    });
  }
}
