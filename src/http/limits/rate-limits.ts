import { Inject, Injectable } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { DomainError } from '../../domain/domain-error.js';
import { Config } from '../../platform/config/config.js';
import { AppLogger } from '../../platform/logging/app-logger.js';
import type { Dialect } from '../dialect.js';
import { DialectRegistry } from '../dialect.registry.js';
import { addressKey } from '../request-caller.js';
import { routeInfoOf } from '../route-info.js';
import { CallerKeys } from './caller-keys.js';
import type { LimitStorage } from './fixed-window.storage.js';

/** Injects the storage of the counters: memory, or Redis when replicas share it. */
export const LIMIT_STORAGE = Symbol('LIMIT_STORAGE');

const WINDOW_MS = 60_000;
const FORWARDED_WARNING_EVERY_MS = 3_600_000;
const unlimited = new Set(['/healthz', '/readyz', '/metrics']);

/**
 * Counts every request before it is parsed: one that matches no route and one whose body is malformed count as well,
 * which a guard would never see.
 */
@Injectable()
export class RateLimits {
  private forwardedWarnedAt = -Infinity;

  constructor(
    private readonly config: Config,
    private readonly dialects: DialectRegistry,
    private readonly callers: CallerKeys,
    @Inject(LIMIT_STORAGE) private readonly storage: LimitStorage,
    private readonly log: AppLogger,
  ) {}

  /** Throws `rate_limited` when the caller is past the limit of the route or the dialect. */
  check(request: FastifyRequest, reply: FastifyReply): Promise<void> | undefined {
    this.warnOfForwarding(request);
    const route = routeInfoOf(request);
    if (route !== null ? route.dialect === null : unlimited.has(request.url)) return undefined;
    const dialect = this.dialects.forUrl(request.raw.url ?? '/');
    const caller = this.callers.of(request);
    const documented =
      route?.limit?.perMinute ?? (caller.authenticated ? dialect.limits.authenticated : dialect.limits.anonymous);
    const limit = Math.max(1, Math.floor(documented * this.config.rateLimitFactor));
    if (limit === Infinity) {
      writeHeaders(dialect, reply, documented, documented, Math.ceil((Date.now() + WINDOW_MS) / 1000));
      return undefined;
    }
    const key = `${dialect.name}|${keyOf(request, route?.limit?.scope ?? 'caller', caller)}`;
    return this.count(key, limit, dialect, reply);
  }

  private async count(key: string, limit: number, dialect: Dialect, reply: FastifyReply): Promise<void> {
    const window = await this.storage.increment(key, WINDOW_MS, limit, 0, 'default');
    writeHeaders(dialect, reply, limit, limit - window.totalHits, window.endsAt);
    if (!window.isBlocked) return;
    throw new DomainError('limited', 'rate_limited', 'Rate limit exceeded', {
      retryAfterSeconds: window.timeToBlockExpire,
    });
  }

  private warnOfForwarding(request: FastifyRequest): void {
    if (this.config.trustProxy !== false || request.headers['x-forwarded-for'] === undefined) return;
    if (performance.now() - this.forwardedWarnedAt < FORWARDED_WARNING_EVERY_MS) return;
    this.forwardedWarnedAt = performance.now();
    this.log.warn(
      'A request came with X-Forwarded-For, which does not count: set TRUST_PROXY to the address of your reverse proxy',
      { from: request.ip },
    );
  }
}

function keyOf(
  request: FastifyRequest,
  scope: 'caller' | 'address' | 'session' | 'global',
  caller: ReturnType<CallerKeys['of']>,
): string {
  const route = routeInfoOf(request)?.limit;
  // A route with a limit of its own counts apart from the dialect's others.
  const bucket = route ? `${request.method} ${request.routeOptions.url ?? ''}` : '';
  // Strangers, who are turned away next, must not use up what all callers share.
  if (scope === 'global' && caller.authenticated) return bucket;
  if (scope === 'address') return `${bucket}|${addressKey(request.ip)}`;
  return `${bucket}|${scope === 'session' ? caller.session : caller.key}`;
}

function writeHeaders(dialect: Dialect, reply: FastifyReply, limit: number, remaining: number, endsAt: number): void {
  if (!dialect.limits.headers) return;
  void reply.headers({
    'x-ratelimit-limit': limit,
    'x-ratelimit-remaining': Math.max(0, remaining),
    'x-ratelimit-reset': endsAt,
  });
}
