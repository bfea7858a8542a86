import { Body, Get, HttpCode, Post } from '@nestjs/common';
import { XrayCollectorService } from '../../domain/xray/xray-collector.service.js';
import { Answers } from '../../http/route.decorators.js';
import { formatUtc } from '../../platform/clock/clock.js';
import {
  XrayCollectorRunRequest,
  XrayCollectorStatusResponse,
  XrayCollectorToggleRequest,
  XrayCollectorToggleResponse,
} from './collector.dto.js';
import { XraySuccess } from './success.dto.js';
import { XrayDashboardApi } from './xray-dashboard.api.js';

@XrayDashboardApi('collector')
export class CollectorController {
  constructor(private readonly collector: XrayCollectorService) {}

  /** Show whether traffic is collected, and how far */
  @Get('status')
  async showCollector(): Promise<XrayCollectorStatusResponse> {
    const { enabled, script, lagDays, newestDate, collectedAt } = await this.collector.status();
    return {
      ok: true,
      status: {
        enabled,
        lag_days: lagDays,
        newest_date: newestDate,
        collected_at: collectedAt && formatUtc(collectedAt),
        script,
      },
    };
  }

  /**
   * Switch the collector on or off
   * @remarks Survives restarts. While it is off nothing is counted, and no quota ends anybody.
   */
  @Post('toggle')
  @HttpCode(200)
  async toggleCollector(@Body() { enabled, script }: XrayCollectorToggleRequest): Promise<XrayCollectorToggleResponse> {
    await this.collector.setEnabled(enabled, script ?? undefined);
    return { ok: true, enabled };
  }

  /**
   * Collect now
   * @remarks Also while the collector is off. Done when this answers; 409 while another one runs.
   */
  @Post('run')
  @HttpCode(200)
  @Answers({ engine_busy: 409 })
  async runCollector(@Body() body: XrayCollectorRunRequest): Promise<XraySuccess> {
    await this.collector.run(body.include_today ?? false);
    return { ok: true };
  }
}
