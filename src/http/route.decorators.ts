import { createParamDecorator, type ExecutionContext, SetMetadata } from '@nestjs/common';
import { Throttle } from '@nestjs/throttler';
import type { FastifyRequest } from 'fastify';
import type { Principal } from '../domain/auth/principal.js';
import type { Role } from '../domain/users/user.entity.js';

export const publicKey = 'causeway:public';
export const scopesKey = 'causeway:scopes';
export const rolesKey = 'causeway:roles';
export const answersKey = 'causeway:answers';
export const limitScopeKey = 'causeway:limit-scope';

/** Anyone may call this route. With `identify` a good token that comes along makes its owner the caller. */
export const Public = (options: { identify?: boolean } = {}) =>
  SetMetadata(publicKey, { identify: options.identify ?? false });

/** API tokens of a narrow scope that may call this route as well. */
export const Scopes = (...scopes: Exclude<Principal['scope'], 'full'>[]) => SetMetadata(scopesKey, scopes);

/** The caller, or null on a public route. */
export const CurrentPrincipal = createParamDecorator(
  (_data: unknown, context: ExecutionContext): Principal | null =>
    context.switchToHttp().getRequest<FastifyRequest>().principal ?? null,
);

/** Roles that may call this route; the dialect's default is `admin` alone. An admin may call what a user may. */
export const Roles = (...roles: Role[]) => SetMetadata(rolesKey, roles);

/** Statuses that the contract gives errors on this route against the dialect's table: `{ client_not_found: 400 }`. */
export const Answers = (statusByCode: Record<string, number>) => SetMetadata(answersKey, statusByCode);

/** Whose requests count together: those of a user or address, of an address, of one token, or all. */
export type LimitScope = 'caller' | 'address' | 'session' | 'global';

/** A documented limit of this route: so many requests a minute. It counts apart from the dialect's. */
export function Limit(perMinute: number, scope: LimitScope = 'caller') {
  const throttle = Throttle({ default: { limit: perMinute, ttl: 60_000 } });
  return (target: object, key: string, descriptor: PropertyDescriptor): void => {
    throttle(target, key, descriptor);
    SetMetadata(limitScopeKey, scope)(target, key, descriptor);
  };
}
