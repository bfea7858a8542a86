import { Body, Get, HttpCode, Post } from '@nestjs/common';
import { HostSampler } from '../../domain/system/host-sampler.service.js';
import { PortsService } from '../../domain/system/ports.service.js';
import { ServicesService } from '../../domain/system/services.service.js';
import { Answers } from '../../http/route.decorators.js';
import {
  XrayPortsResponse,
  XrayResourcesResponse,
  XraySystemRestartRequest,
  XraySystemRestartResponse,
  XraySystemStatusResponse,
} from './system.dto.js';
import { toPortItem, toResources, toServiceStatus } from './system.mapper.js';
import { XrayDashboardApi } from './xray-dashboard.api.js';

@XrayDashboardApi()
export class SystemController {
  constructor(
    private readonly services: ServicesService,
    private readonly host: HostSampler,
    private readonly ports: PortsService,
  ) {}

  /** Show which services run */
  @Get('system/status')
  async showSystemStatus(): Promise<XraySystemStatusResponse> {
    const { ui, xray, nextjs, wireguard } = await this.services.status();
    return {
      ok: true,
      ui: toServiceStatus(ui),
      xray: toServiceStatus(xray),
      nextjs: toServiceStatus(nextjs),
      wireguard: toServiceStatus(wireguard),
    };
  }

  /** Show processors, memory, disk and network of the host */
  @Get('system/resources')
  showResources(): XrayResourcesResponse {
    return toResources(this.host.snapshot());
  }

  /** Show the ports that are meant to be served, each tried now */
  @Get('ports/status')
  async showPorts(): Promise<XrayPortsResponse> {
    return { ok: true, ports: (await this.ports.probe()).map(toPortItem) };
  }

  /**
   * Restart a service
   * @remarks `xray` serves again when this answers. `ui` and `nextjs` are this server: it ends gracefully after the
   * answer when SUPERVISED=true says that somebody starts it again, and 409 otherwise.
   */
  @Post('system/restart')
  @HttpCode(200)
  @Answers({ restart_unsupervised: 409 })
  async restartService(@Body() { target }: XraySystemRestartRequest): Promise<XraySystemRestartResponse> {
    await this.services.restart(target);
    return { ok: true, message: target === 'xray' ? 'restarted' : 'restarting', service: target };
  }
}
