import { type ExecutionContext, Injectable } from '@nestjs/common';
import { AuthGuard as PassportGuard } from '@nestjs/passport';
import type { FastifyRequest } from 'fastify';
import { AuthService } from '../domain/auth/auth.service.js';
import { tokenInvalid } from '../domain/auth/auth.errors.js';
import type { Principal } from '../domain/auth/principal.js';
import { DomainError } from '../domain/domain-error.js';
import { CallerKeys } from './limits/caller-keys.js';
import { isSameOrigin, tokenOf } from './request-caller.js';
import { type RouteInfo, routeInfoOf } from './route-info.js';

declare module 'fastify' {
  interface FastifyRequest {
    /** Whose token came with the request; set by the guard. */
    principal?: Principal;
  }
}

const reading = new Set(['GET', 'HEAD', 'OPTIONS']);
const MOST_PASSED_TOKENS = 5_000;

/** The one guard: who is asking, and may they. A route without a dialect's decorator lets nobody in. */
@Injectable()
export class AuthGuard extends PassportGuard('jwt') {
  /** Signed tokens that Passport let through once: from then on only the domain is asked whether they still count. */
  private readonly passed = new Set<string>();

  constructor(
    private readonly auth: AuthService,
    private readonly callers: CallerKeys,
  ) {
    super({ property: 'principal', session: false });
  }

  /** Without waiting when all of it is known: most requests come with a token that came a moment ago. */
  override canActivate(context: ExecutionContext): boolean | Promise<boolean> {
    const request = context.switchToHttp().getRequest<FastifyRequest>();
    const route = routeInfoOf(request);
    if (route?.public === true && !route.identify) return true;
    const token = tokenOf(request);
    if (token === null) {
      if (route?.public === true) return true;
      throw new DomainError('unauthenticated', 'token_missing', 'Not authenticated');
    }
    if (token.from === 'cookie' && !reading.has(request.method) && !isSameOrigin(request)) {
      throw new DomainError('forbidden', 'foreign_origin', 'This request came from a page of another origin');
    }
    const known = this.passed.has(token.value) ? this.auth.recall(token.value) : null;
    if (known === null) return this.ask(context, request, route, token.value);
    request.principal = known;
    return admit(request, route);
  }

  /** Passport's way to say how it went: the strategy's own error, else that the token is no token of ours. */
  override handleRequest<T>(error: unknown, principal: T | false | null): T {
    if (error) throw error as Error;
    if (!principal) throw tokenInvalid();
    return principal;
  }

  private async ask(
    context: ExecutionContext,
    request: FastifyRequest,
    route: RouteInfo | null,
    token: string,
  ): Promise<boolean> {
    try {
      await this.identify(context, request, token);
    } catch (error) {
      if (route?.public === true && error instanceof DomainError && error.kind === 'unauthenticated') return true;
      throw error;
    }
    return admit(request, route);
  }

  private async identify(context: ExecutionContext, request: FastifyRequest, token: string): Promise<void> {
    // Only a JWT has three parts; whatever else is shown can only be an API token.
    if (!this.passed.has(token) && token.split('.').length === 3 && (await this.isJwt(context))) {
      if (this.passed.size >= MOST_PASSED_TOKENS) this.passed.clear();
      this.passed.add(token);
      return;
    }
    request.principal = await this.auth.authenticate(token);
    if (request.principal.kind === 'api_token') this.callers.learn(token, request.principal.name);
  }

  /** False for a text with two dots that is no JWT of ours: it may still be an API token. */
  private async isJwt(context: ExecutionContext): Promise<boolean> {
    try {
      await super.canActivate(context);
      return true;
    } catch (error) {
      if (error instanceof DomainError && error.code === 'token_invalid') return false;
      throw error;
    }
  }
}

function admit(request: FastifyRequest, route: RouteInfo | null): boolean {
  const principal = request.principal!;
  if (request.callContext) request.callContext.actor = principal.name;
  if (route?.public !== true) assertRole(principal, route);
  return true;
}

function assertRole(principal: Principal, route: RouteInfo | null): void {
  const roles = route?.roles ?? [];
  const isNamed = roles.includes(principal.role) || (principal.role === 'admin' && roles.includes('user'));
  // A narrow token may do what its scope names, and nothing that a role may.
  const allowed = principal.scope === 'full' ? isNamed : (route?.scopes.includes(principal.scope) ?? false);
  if (!allowed) throw new DomainError('forbidden', 'role_forbidden', 'Your role may not do this');
}
