import { Injectable } from '@nestjs/common';
import { PassportStrategy } from '@nestjs/passport';
import type { FastifyRequest } from 'fastify';
import { Strategy } from 'passport-jwt';
import { AuthService } from '../domain/auth/auth.service.js';
import type { Principal } from '../domain/auth/principal.js';
import { TOKEN_ALGORITHM, TOKEN_ISSUER, tokenKey } from '../domain/auth/token-key.js';
import { SecretBox } from '../platform/crypto/secret-box.js';
import { tokenOf } from './request-caller.js';

/** Access tokens. Passport checks signature and date; the domain knows whether the token still counts. */
@Injectable()
export class JwtStrategy extends PassportStrategy(Strategy, 'jwt') {
  constructor(
    secretBox: SecretBox,
    private readonly auth: AuthService,
  ) {
    const key = tokenKey(secretBox);
    super({
      jwtFromRequest: (request: unknown) => tokenOf(request as FastifyRequest)?.value ?? null,
      // jsonwebtoken takes key objects, which the types of passport-jwt do not know.
      secretOrKeyProvider: (_request, _token, done) => done(null, key as unknown as Buffer),
      algorithms: [TOKEN_ALGORITHM],
      issuer: TOKEN_ISSUER,
      passReqToCallback: true,
    });
  }

  validate(request: FastifyRequest): Promise<Principal> {
    return this.auth.authenticate(tokenOf(request)!.value);
  }
}
