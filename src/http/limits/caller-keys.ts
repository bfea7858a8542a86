import { Injectable } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import { TokensService } from '../../domain/auth/tokens.service.js';
import { addressKey, fingerprint, tokenOf } from '../request-caller.js';

/** Whose requests count together. */
export interface CallerKey {
  authenticated: boolean;
  /** The user or API token; the address of callers who show neither. */
  key: string;
  /** The one token of this login. */
  session: string;
}

const MOST_API_TOKENS = 10_000;

/**
 * Tells callers apart before anybody has looked into the database. A token of ours is known by its signature; an API
 * token once it was found good, so that made-up ones cannot buy anybody fresh counters.
 */
@Injectable()
export class CallerKeys {
  private readonly apiTokens = new Map<string, string>();

  constructor(private readonly tokens: TokensService) {}

  of(request: FastifyRequest): CallerKey {
    const token = tokenOf(request)?.value;
    if (token !== undefined) {
      const signed = this.tokens.signedBy(token);
      if (signed) return { authenticated: true, key: `user:${signed.userId}`, session: `session:${signed.sessionId}` };
      const name = this.apiTokens.size === 0 ? undefined : this.apiTokens.get(fingerprint(token));
      if (name !== undefined) return { authenticated: true, key: name, session: name };
    }
    const key = `ip:${addressKey(request.ip)}`;
    return { authenticated: false, key, session: key };
  }

  /** An API token was found good; from now on its requests count by its name. */
  learn(token: string, name: string): void {
    if (this.apiTokens.size >= MOST_API_TOKENS) this.apiTokens.clear();
    this.apiTokens.set(fingerprint(token), name);
  }
}
