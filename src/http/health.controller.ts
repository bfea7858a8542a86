import { Get, Res } from '@nestjs/common';
import { ApiResponse } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import { ServerController } from './dialect-controller.decorator.js';
import { HealthResponse, ReadinessResponse } from './health.dto.js';
import { Readiness } from './readiness.js';

@ServerController()
export class HealthController {
  constructor(private readonly readiness: Readiness) {}

  /**
   * Tell that this process is alive
   * @remarks Asks nobody else.
   */
  @Get('healthz')
  healthz(): HealthResponse {
    return { status: 'ok', uptime_seconds: Math.floor(process.uptime()) };
  }

  /**
   * Tell whether requests can be served
   * @remarks The database, and each engine by name with what to do when it is down.
   */
  @Get('readyz')
  @ApiResponse({ status: 200, type: ReadinessResponse })
  @ApiResponse({ status: 503, type: ReadinessResponse, description: 'A part that is wanted is down' })
  async readyz(@Res({ passthrough: true }) reply: FastifyReply): Promise<ReadinessResponse> {
    const { ready, parts } = await this.readiness.report();
    if (!ready) void reply.code(503);
    return { status: ready ? 'ready' : 'unready', parts };
  }
}
