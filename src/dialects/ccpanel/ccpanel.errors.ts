import { ApiProperty } from '@nestjs/swagger';
import type { ErrorKind } from '../../domain/domain-error.js';
import type { Dialect } from '../../http/dialect.js';

/** Every error of CCPanel's API. */
export class CcPanelError {
  /** The class of error. */
  @ApiProperty({ example: 'Resource not found' })
  error: string;

  @ApiProperty({ example: 'There is no such node' })
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

export const ccpanel: Dialect = {
  name: 'ccpanel',
  prefixes: ['/api/v1/auth/login', '/api/v1/nodes', '/api/v1/instances', '/ws'],
  status,
  limits: { anonymous: 600, authenticated: 600, headers: false },
  body: (error): CcPanelError => ({ error: classes[error.kind], detail: error.message }),
};
