import { Body, Get, Headers, HttpCode, Post, Req } from '@nestjs/common';
import { ApiHeader } from '@nestjs/swagger';
import type { FastifyRequest } from 'fastify';
import type { Principal } from '../../domain/auth/principal.js';
import { SetupService } from '../../domain/system/setup.service.js';
import { callerAddress } from '../../http/request-caller.js';
import { Answers, CurrentPrincipal, Public } from '../../http/route.decorators.js';
import { CandyPanelApi } from './candypanel.api.js';
import { Confirmation } from './envelope.dto.js';
import { done } from './envelope.mapper.js';
import { InstalledResponse, InstallRequest } from './install.dto.js';
import { toInstallation } from './install.mapper.js';

@CandyPanelApi()
export class InstallController {
  constructor(private readonly setup: SetupService) {}

  /**
   * Install the server, once
   * @remarks Makes the first admin and the interface `wg0`, and brings it up. Open while there is no admin; where
   * `ADMIN_PASSWORD` made one, that admin's token is needed. A caller from a public address, or any caller when
   * `SETUP_TOKEN` is set, sends the set-up token as header `X-Setup-Token`.
   */
  @Post('install')
  @HttpCode(200)
  @Public({ identify: true })
  @ApiHeader({ name: 'x-setup-token', required: false, description: 'The set-up token' })
  @Answers({ setup_needs_admin: 401, setup_token_wrong: 403 })
  async install(
    @Body() body: InstallRequest,
    @CurrentPrincipal() principal: Principal | null,
    @Req() request: FastifyRequest,
    @Headers('x-setup-token') setupToken?: string,
  ): Promise<Confirmation> {
    await this.setup.install(toInstallation(body), {
      principal,
      remoteAddress: callerAddress(request),
      setupToken,
    });
    return done('Installed successfully!');
  }

  /** Tell whether the server is installed */
  @Get('check')
  @Public()
  async checkInstalled(): Promise<InstalledResponse> {
    return { installed: await this.setup.installed() };
  }
}
