import { Get } from '@nestjs/common';
import { ApiOperation } from '@nestjs/swagger';
import { Public } from '../../http/route.decorators.js';
import { Clock, formatUtc } from '../../platform/clock/clock.js';
import { PingResponse } from './ping.dto.js';
import { XrayDashboardApi } from './xray-dashboard.api.js';

@XrayDashboardApi()
export class PingController {
  constructor(private readonly clock: Clock) {}

  @Public()
  @Get('ping')
  @ApiOperation({ summary: 'Tell that the API answers' })
  ping(): PingResponse {
    return { ok: true, message: 'pong', ts: formatUtc(this.clock.now()) };
  }
}
