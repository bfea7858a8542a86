import type { FastifyRequest } from 'fastify';
import type { Principal } from '../domain/auth/principal.js';
import type { Role } from '../domain/users/user.entity.js';
import type { LimitScope } from './route.decorators.js';

/** What the hooks and the filter know of a route before Nest runs it. */
export interface RouteInfo {
  /** Name of the dialect; null for health and metrics. */
  dialect: string | null;
  public: boolean;
  /** On a public route: a token that comes along is looked at. */
  identify: boolean;
  roles: readonly Role[];
  /** Narrow scopes of API tokens that may call it too. */
  scopes: readonly Principal['scope'][];
  answers: Readonly<Record<string, number>>;
  /** Null: the dialect's own limit, counted for all its routes together. */
  limit: { perMinute: number; scope: LimitScope } | null;
}

declare module 'fastify' {
  interface FastifyRequest {
    /** Kept here by `routeInfoOf`. */
    routeInfo?: RouteInfo | null | undefined;
  }
}

/** Null for routes that no controller of ours serves: unknown ones, and the files of Swagger UI. */
export function routeInfoOf(request: FastifyRequest): RouteInfo | null {
  // Fastify makes a new object each time it is asked for the options of a route.
  if (request.routeInfo === undefined) {
    request.routeInfo = (request.routeOptions.config as { causeway?: RouteInfo }).causeway ?? null;
  }
  return request.routeInfo;
}
