import { Get } from '@nestjs/common';
import { Public } from '../../http/route.decorators.js';
import { Clock, formatUtc } from '../../platform/clock/clock.js';
import { PingResponse } from './ping.dto.js';
import { XrayDashboardApi } from './xray-dashboard.api.js';

@XrayDashboardApi()
export class PingController {
  constructor(private readonly clock: Clock) {}

  /** Tell that the API answers */
  @Public()
  @Get('ping')
  ping(): PingResponse {
    return { ok: true, message: 'pong', ts: formatUtc(this.clock.now()) };
  }
}
