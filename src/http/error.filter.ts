import { Catch, type ArgumentsHost, type ExceptionFilter } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { DomainError } from '../domain/domain-error.js';
import { AppLogger } from '../platform/logging/app-logger.js';
import { AllowedMethods } from './allowed-methods.js';
import { pathOf } from './dialect.registry.js';
import { ErrorRenderer } from './error.renderer.js';
import { routeInfoOf } from './route-info.js';
import { toDomainError } from './to-domain-error.js';

/** The one filter: every failure of every dialect goes out here. */
@Catch()
export class ErrorFilter implements ExceptionFilter {
  constructor(
    private readonly renderer: ErrorRenderer,
    private readonly methods: AllowedMethods,
    private readonly log: AppLogger,
  ) {}

  catch(exception: unknown, host: ArgumentsHost): void {
    const request = host.switchToHttp().getRequest<FastifyRequest>();
    const reply = host.switchToHttp().getResponse<FastifyReply>();
    const known = toDomainError(exception);
    const error = this.unroutedError(request, known) ?? known;
    this.report(error, exception, request);
    if (reply.sent || reply.raw.headersSent) {
      // The answer has begun: cutting it short is the only way left to say that it is not whole.
      reply.raw.destroy();
      return;
    }
    const url = request.raw.url ?? '/';
    const answers = routeInfoOf(request)?.answers;
    const rendered = this.renderer.render(error, { url, requestId: request.id, ...(answers ? { answers } : {}) });
    // A file that was about to go out left its own type and name behind.
    reply.removeHeader('content-disposition').removeHeader('content-length');
    void reply
      .code(rendered.status)
      .headers(rendered.headers)
      .type('application/json; charset=utf-8')
      .send(rendered.body);
  }

  /** Fastify says 404 for a wrong method too. A limit counts before any of that. */
  private unroutedError(request: FastifyRequest, known: DomainError): DomainError | null {
    if (!request.is404 || known.kind === 'limited') return null;
    const allow = this.methods.of(pathOf(request.raw.url ?? '/'));
    if (allow.length === 0 || allow.includes(request.method)) {
      return new DomainError('not_found', 'route_not_found', 'Not found');
    }
    const message = `Method ${request.method} is not allowed here`;
    return new DomainError('invalid', 'method_not_allowed', message, { allow });
  }

  private report(error: DomainError, thrown: unknown, request: FastifyRequest): void {
    if (error.kind !== 'internal' && error.code !== 'database_unavailable') return;
    this.log.error('Request failed', {
      requestId: request.id,
      method: request.method,
      path: pathOf(request.raw.url ?? '/'),
      code: error.code,
      err: thrown instanceof DomainError ? (thrown.cause ?? thrown) : thrown,
    });
  }
}
