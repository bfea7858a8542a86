import { Injectable } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { AppLogger } from '../platform/logging/app-logger.js';

/** Query parameters whose values must not stand in a log. */
const secretParameter = /([?&][^=&]*(?:token|password|secret|passphrase|key|authority|code)[^=&]*=)[^&#]*/gi;

/** One line for each request. */
@Injectable()
export class AccessLog {
  constructor(private readonly log: AppLogger) {}

  write(request: FastifyRequest, reply: FastifyReply): void {
    // Probes and scrapes would drown the rest.
    const quiet = request.url === '/healthz' || request.url === '/readyz' || request.url === '/metrics';
    const line = {
      requestId: request.id,
      method: request.method,
      path: maskedUrl(request.raw.url ?? '/'),
      status: reply.statusCode,
      ms: Math.round(reply.elapsedTime * 10) / 10,
      actor: request.callContext?.actor ?? null,
      ip: request.ip,
    };
    if (quiet && reply.statusCode < 400) this.log.debug('Request', line);
    else this.log.info('Request', line);
  }
}

/** The request target with the values of secret parameters masked, at most 500 characters. */
export function maskedUrl(url: string): string {
  const masked = url.includes('?') ? url.replace(secretParameter, '$1***') : url;
  return masked.length > 500 ? `${masked.slice(0, 500)}…` : masked;
}
