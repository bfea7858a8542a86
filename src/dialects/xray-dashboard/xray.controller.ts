import { Get, HttpCode, Post } from '@nestjs/common';
import { XrayEngineService } from '../../domain/xray/xray-engine.service.js';
import { XrayInboundsService } from '../../domain/xray/xray-inbounds.service.js';
import { Answers } from '../../http/route.decorators.js';
import { XrayDashboardApi } from './xray-dashboard.api.js';
import { XrayConfigResponse, XrayRealityResponse, XrayRestartResponse } from './xray.dto.js';

@XrayDashboardApi('xray')
export class XrayController {
  constructor(
    private readonly engine: XrayEngineService,
    private readonly inbounds: XrayInboundsService,
  ) {}

  /** Show the config that the engine runs with */
  @Get('config')
  async showXrayConfig(): Promise<XrayConfigResponse> {
    return { ok: true, config: (await this.engine.config()) ?? {} };
  }

  /**
   * Restart the engine
   * @remarks Cuts all connections. The engine serves again when this answers; 409 while another restart is under way.
   */
  @Post('restart')
  @HttpCode(200)
  @Answers({ engine_busy: 409 })
  async restartXray(): Promise<XrayRestartResponse> {
    await this.engine.restart();
    return { ok: true, message: 'restarted' };
  }

  /**
   * Show the public half of REALITY
   * @remarks 409 with the reason when the inbound does without it.
   */
  @Get('reality')
  @Answers({ xray_reality_missing: 409 })
  async showReality(): Promise<XrayRealityResponse> {
    const reality = await this.inbounds.reality();
    return {
      ok: true,
      port: reality.port,
      pbk: reality.publicKey,
      sni: reality.sni,
      sid: reality.shortId,
      fp: reality.fingerprint,
      flow: reality.flow,
      dest: reality.dest,
    };
  }
}
