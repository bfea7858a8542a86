import { Get, Req, Res } from '@nestjs/common';
import { ApiBearerAuth, ApiProduces, ApiResponse } from '@nestjs/swagger';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { AuthService } from '../domain/auth/auth.service.js';
import { DomainError } from '../domain/domain-error.js';
import { Config } from '../platform/config/config.js';
import { equalSecrets } from '../platform/crypto/constant-time.js';
import { ServerController } from './dialect-controller.decorator.js';
import { HttpMetrics } from './http.metrics.js';
import { bearerToken, isForwarded } from './request-caller.js';

@ServerController()
export class MetricsController {
  constructor(
    private readonly metrics: HttpMetrics,
    private readonly config: Config,
    private readonly auth: AuthService,
  ) {}

  /**
   * Show measures in Prometheus's text format
   * @remarks For an admin, for the bearer of `METRICS_TOKEN`, and for requests from this host itself.
   */
  @Get('metrics')
  @ApiBearerAuth()
  @ApiProduces('text/plain')
  @ApiResponse({ status: 200, schema: { type: 'string' } })
  async scrape(@Req() request: FastifyRequest, @Res({ passthrough: true }) reply: FastifyReply): Promise<string> {
    await this.assertAllowed(request);
    const { contentType, text } = await this.metrics.scrape();
    void reply.type(contentType);
    return text;
  }

  private async assertAllowed(request: FastifyRequest): Promise<void> {
    const token = bearerToken(request);
    if (token === null) {
      if (isThisHost(request)) return;
      throw new DomainError('unauthenticated', 'token_missing', 'Not authenticated');
    }
    if (this.config.metricsToken !== null && equalSecrets(token, this.config.metricsToken)) return;
    const principal = await this.auth.authenticate(token);
    if (principal.role !== 'admin') throw new DomainError('forbidden', 'forbidden', 'Only admins may do this');
  }
}

function isThisHost(request: FastifyRequest): boolean {
  const peer = request.raw.socket.remoteAddress ?? '';
  return !isForwarded(request) && /^(127\.|::1$|::ffff:127\.)/.test(peer);
}
