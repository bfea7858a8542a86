import { Get } from '@nestjs/common';
import { DashboardService } from '../../domain/system/dashboard.service.js';
import { CandyPanelApi } from './candypanel.api.js';
import { DashboardRecord } from './dashboard.dto.js';
import { toDashboardRecord } from './dashboard.mapper.js';

@CandyPanelApi('dashboard')
export class DashboardController {
  constructor(private readonly dashboard: DashboardService) {}

  /** Show the state of host and tunnels */
  @Get()
  async showDashboard(): Promise<DashboardRecord> {
    return toDashboardRecord(await this.dashboard.show());
  }
}
