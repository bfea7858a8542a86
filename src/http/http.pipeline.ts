import { Injectable } from '@nestjs/common';
import type { FastifyAdapter, NestFastifyApplication } from '@nestjs/platform-fastify';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { fastifyCookie } from '@fastify/cookie';
import { DomainError } from '../domain/domain-error.js';
import { Config } from '../platform/config/config.js';
import { requestContext, type RequestContext } from '../platform/context/request-context.js';
import { AccessLog } from './access-log.js';
import { AllowedMethods } from './allowed-methods.js';
import { pathOf } from './dialect.registry.js';
import { HttpMetrics } from './http.metrics.js';
import { parseJsonBody } from './json-body.js';
import { serializeReply } from './json-reply.js';
import { RateLimits } from './limits/rate-limits.js';
import { cleanForwardedFor } from './request-caller.js';
import { securityHeaders } from './security-headers.js';

declare module 'fastify' {
  interface FastifyRequest {
    /** Set for every request that was routed; the guard writes the actor into it. */
    callContext?: RequestContext;
  }
}

/** What happens to every request, whatever dialect it is of. */
@Injectable()
export class HttpPipeline {
  private closing = false;

  constructor(
    private readonly config: Config,
    private readonly limits: RateLimits,
    private readonly methods: AllowedMethods,
    private readonly accessLog: AccessLog,
    private readonly metrics: HttpMetrics,
  ) {}

  /** To be called once, before the application's routes are there. */
  async install(app: NestFastifyApplication): Promise<void> {
    const adapter: FastifyAdapter = app.getHttpAdapter() as unknown as FastifyAdapter;
    const fastify = adapter.getInstance<FastifyInstance>();
    // Declared before the first request, so that all of them have one shape.
    for (const name of ['callContext', 'principal', 'routeInfo', 'shownToken'])
      fastify.decorateRequest(name, undefined);
    fastify.addHook('onRoute', (route) => this.methods.add(route.method, route.url));
    this.installBodies(fastify);
    if (this.config.corsOrigins.length > 0) {
      app.enableCors({
        origin: this.config.corsOrigins.includes('*') ? '*' : this.config.corsOrigins,
        exposedHeaders: [
          'x-request-id',
          'retry-after',
          'x-ratelimit-limit',
          'x-ratelimit-remaining',
          'x-ratelimit-reset',
        ],
        methods: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'],
        maxAge: 600,
      });
    }
    fastify.addHook('onRequest', (request, reply, done) => {
      this.begin(request, reply);
      done();
    });
    fastify.addHook('onRequest', (request, reply, done) => {
      try {
        const counted = this.limits.check(request, reply);
        // Fastify waits for a promise, and needs none when there is nothing to wait for.
        if (counted !== undefined) return counted;
        done();
      } catch (error) {
        done(error as Error);
      }
      return undefined;
    });
    // After the body was read: what the handler starts runs inside, and parsing streams cannot lose it.
    fastify.addHook('preHandler', (request, _reply, done) => requestContext.run(request.callContext!, done));
    fastify.addHook('onSend', (_request, reply, _payload, done) => {
      if (this.closing) void reply.header('connection', 'close');
      done();
    });
    fastify.addHook('onResponse', (request, reply, done) => {
      this.accessLog.write(request, reply);
      this.metrics.observe(request, reply);
      done();
    });
    await app.register(fastifyCookie);
  }

  /** Answers from now on end their connection, so that the server can drain. */
  beginClosing(): void {
    this.closing = true;
  }

  private begin(request: FastifyRequest, reply: FastifyReply): void {
    const forwarded = request.raw.headers['x-forwarded-for'];
    if (forwarded !== undefined && this.config.trustProxy !== false) {
      const clean = cleanForwardedFor(forwarded);
      if (clean === null) delete request.raw.headers['x-forwarded-for'];
      else request.raw.headers['x-forwarded-for'] = clean;
    }
    request.callContext = { actor: 'anonymous', ip: request.ip, requestId: request.id };
    void reply.headers(securityHeaders(pathOf(request.raw.url ?? '/')));
    void reply.header('x-request-id', request.id);
    // Answers hold keys and configurations: no cache may keep them.
    if (!request.url.startsWith('/docs')) void reply.header('cache-control', 'no-store');
  }

  private installBodies(fastify: FastifyInstance): void {
    fastify.removeAllContentTypeParsers();
    fastify.addContentTypeParser('application/json', { parseAs: 'string' }, (_request, body, done) => {
      try {
        done(null, parseJsonBody(body as string));
      } catch (error) {
        done(error as Error);
      }
    });
    // HTTP clients name a type even when they send nothing: only a body of another type is refused.
    fastify.addContentTypeParser('*', { parseAs: 'string' }, (_request, body, done) => {
      if (body === '') done(null, {});
      else done(new DomainError('invalid', 'unsupported_media_type', 'The body must be sent as application/json'));
    });
    fastify.setReplySerializer((payload) => serializeReply(payload));
  }
}
