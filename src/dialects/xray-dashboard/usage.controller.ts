import { Get, Param, Query } from '@nestjs/common';
import { XrayUsageService } from '../../domain/xray/xray-usage.service.js';
import { Answers } from '../../http/route.decorators.js';
import { XrayUsageDatesResponse, XrayUsageQuery, XrayUsageResponse, XrayUsageUserQuery } from './usage.dto.js';
import { toUsage } from './usage.mapper.js';
import { XrayDashboardApi } from './xray-dashboard.api.js';

const DEFAULT_DAYS = 7;

@XrayDashboardApi('usage')
export class UsageController {
  constructor(private readonly usage: XrayUsageService) {}

  /** Show the books of the last days */
  @Get('dashboard')
  @Answers({ xray_user_not_found: 404 })
  async showUsage(@Query() query: XrayUsageQuery): Promise<XrayUsageResponse> {
    return toUsage(await this.usage.dashboard(query.days ?? DEFAULT_DAYS, query.user));
  }

  /** List the days that have data */
  @Get('dates')
  async listUsageDates(): Promise<XrayUsageDatesResponse> {
    return { ok: true, dates: await this.usage.dates() };
  }

  /**
   * Show the books of one day
   * @param date Day in UTC, such as 2030-01-31
   */
  @Get('dashboard/:date')
  @Answers({ xray_user_not_found: 404 })
  async showUsageOfDay(@Param('date') date: string, @Query() query: XrayUsageUserQuery): Promise<XrayUsageResponse> {
    return toUsage(await this.usage.dashboardOf(date, query.user));
  }
}
