import { Get, Query } from '@nestjs/common';
import { EventsService } from '../../domain/events/events.service.js';
import { Clock } from '../../platform/clock/clock.js';
import { XrayEventFilter, XrayEventQuery, XrayEventsResponse, XrayEventStatsResponse } from './events.dto.js';
import { toEventFilter, toEventItem } from './events.mapper.js';
import { XrayDashboardApi } from './xray-dashboard.api.js';

const DEFAULT_LIMIT = 100;

@XrayDashboardApi('events')
export class EventsController {
  constructor(
    private readonly events: EventsService,
    private readonly clock: Clock,
  ) {}

  /**
   * List events, newest first
   * @remarks Of all parts of the product: what admins did, and what engines and this server went through.
   */
  @Get()
  async listEvents(@Query() query: XrayEventQuery): Promise<XrayEventsResponse> {
    const { limit = DEFAULT_LIMIT, offset = 0 } = query;
    const { items, total } = await this.events.list({ ...toEventFilter(query, this.clock.now()), limit, offset });
    return { ok: true, events: items.map(toEventItem), total };
  }

  /** Count events by type, severity and service */
  @Get('stats')
  async showEventStats(@Query() query: XrayEventFilter): Promise<XrayEventStatsResponse> {
    const stats = await this.events.statistics(toEventFilter(query, this.clock.now()));
    return {
      ok: true,
      stats: {
        by_type: stats.byType,
        by_severity: stats.bySeverity,
        by_service: stats.byService,
        total: stats.total,
      },
    };
  }
}
