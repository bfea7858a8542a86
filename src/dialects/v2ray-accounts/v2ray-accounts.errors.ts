import { ApiProperty } from '@nestjs/swagger';
import type { ErrorKind } from '../../domain/domain-error.js';
import type { Dialect } from '../../http/dialect.js';

/** Every error of the V2Ray accounts API. */
export class V2RayAccountsError {
  /** The class of error. */
  @ApiProperty({ example: 'Invalid input' })
  error: string;

  @ApiProperty({ example: "Field 'username' is required" })
  detail: string;
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

const classes = {
  invalid: 'Invalid input',
  unauthenticated: 'Authentication required',
  forbidden: 'Insufficient permissions',
  not_found: 'Resource not found',
  conflict: 'Conflict',
  refused: 'Invalid input',
  limited: 'Rate limit exceeded',
  too_large: 'Request too large',
  unavailable: 'Service unavailable',
  internal: 'Server error',
} satisfies Record<ErrorKind, string>;

export const v2rayAccounts: Dialect = {
  name: 'v2ray-accounts',
  prefixes: ['/api/v1'],
  status,
  limits: { anonymous: 10, authenticated: 60, headers: true },
  body: (error): V2RayAccountsError => ({ error: classes[error.kind], detail: error.message }),
};
