import { Get, Query } from '@nestjs/common';
import { XrayLiveService } from '../../domain/xray/xray-live.service.js';
import { Clock, formatUtc } from '../../platform/clock/clock.js';
import { XrayLiveResponse, XraySeriesQuery, XraySeriesResponse, XrayTopQuery, XrayTopResponse } from './live.dto.js';
import { toLiveNow } from './live.mapper.js';
import { XrayDashboardApi } from './xray-dashboard.api.js';

const DEFAULT_PERIOD_SECONDS = 3_600;
const DEFAULT_GRANULARITY_SECONDS = 60;
const DEFAULT_TOP = 10;

@XrayDashboardApi('live')
export class LiveController {
  constructor(
    private readonly live: XrayLiveService,
    private readonly clock: Clock,
  ) {}

  /** Show who is online, and what moves now */
  @Get('now')
  async showLiveNow(): Promise<XrayLiveResponse> {
    return toLiveNow(await this.live.now(), this.clock.now());
  }

  /** Show traffic, connections or users online over time */
  @Get('series')
  async showLiveSeries(@Query() query: XraySeriesQuery): Promise<XraySeriesResponse> {
    const series = await this.live.series(
      query.metric ?? 'traffic',
      query.period ?? DEFAULT_PERIOD_SECONDS,
      query.granularity ?? query.gran ?? DEFAULT_GRANULARITY_SECONDS,
    );
    return { ok: true, series: series.map(({ at, value }) => ({ time: formatUtc(at), value })) };
  }

  /** Show the users with the most traffic or connections */
  @Get('top')
  async showLiveTop(@Query() query: XrayTopQuery): Promise<XrayTopResponse> {
    const { metric = 'traffic', period = DEFAULT_PERIOD_SECONDS, limit = DEFAULT_TOP } = query;
    const top = await this.live.top(metric, period, limit);
    return {
      ok: true,
      top: top.map(({ email, value, alias, sharePercent }) => ({ user: email, value, alias, sharePct: sharePercent })),
    };
  }
}
