import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger';
import type { ErrorKind } from '../../domain/domain-error.js';
import type { Dialect } from '../../http/dialect.js';

/** Every error of wg-easy's API. */
export class WgEasyError {
  @ApiProperty({ example: 'Client not found' })
  error: string;

  /** Left out when the rate limit is exceeded, as the contract shows it. */
  @ApiPropertyOptional({
    enum: ['INVALID_REQUEST', 'UNAUTHORIZED', 'FORBIDDEN', 'NOT_FOUND', 'CONFLICT', 'UNAVAILABLE', 'INTERNAL_ERROR'],
  })
  code?: string;

  /** Seconds to wait, when the rate limit is exceeded. */
  @ApiPropertyOptional({ type: 'integer', minimum: 1, example: 42 })
  retryAfter?: number;
}

const status = {
  invalid: 400,
  unauthenticated: 401,
  forbidden: 403,
  not_found: 404,
  conflict: 409,
  refused: 400,
  limited: 429,
  too_large: 413,
  unavailable: 503,
  internal: 500,
} satisfies Record<ErrorKind, number>;

const codes = {
  invalid: 'INVALID_REQUEST',
  unauthenticated: 'UNAUTHORIZED',
  forbidden: 'FORBIDDEN',
  not_found: 'NOT_FOUND',
  conflict: 'CONFLICT',
  refused: 'INVALID_REQUEST',
  limited: 'RATE_LIMITED',
  too_large: 'INVALID_REQUEST',
  unavailable: 'UNAVAILABLE',
  internal: 'INTERNAL_ERROR',
} satisfies Record<ErrorKind, string>;

/** A missing second factor too: the contract knows one answer to a login that failed. */
const badLogin = () => 'Incorrect Password';

const limited = () => 'Rate limit exceeded';

export const wgEasy: Dialect = {
  name: 'wg-easy',
  prefixes: ['/api/session', '/api/wireguard'],
  status,
  texts: {
    rate_limited: limited,
    login_limited: limited,
    wrong_credentials: badLogin,
    totp_required: badLogin,
    totp_wrong: badLogin,
    token_missing: () => 'Not Logged In',
    token_invalid: () => 'Session expired or invalid',
  },
  limits: { anonymous: 600, authenticated: 600, headers: true },
  body: (error): WgEasyError => {
    const seconds = error.data['retryAfterSeconds'];
    if (error.kind === 'limited')
      return { error: error.message, retryAfter: typeof seconds === 'number' ? Math.ceil(seconds) : 60 };
    return { error: error.message, code: codes[error.kind] };
  },
};
