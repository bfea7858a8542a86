import { ApiProperty } from '@nestjs/swagger';
import type { ErrorKind } from '../../domain/domain-error.js';
import type { Dialect } from '../../http/dialect.js';

/** Every error of the Xray dashboard's API. */
export class XrayDashboardError {
  @ApiProperty({ enum: [false], example: false })
  ok: boolean;

  @ApiProperty({ example: 'User not found' })
  error: string;

  /** The status again. */
  @ApiProperty({ type: 'integer', minimum: 400, maximum: 599, example: 404 })
  code: number;
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

export const xrayDashboard: Dialect = {
  name: 'xray-dashboard',
  prefixes: ['/api'],
  status,
  limits: { anonymous: 600, authenticated: 600, headers: false },
  body: (error): XrayDashboardError => ({ ok: false, error: error.message, code: error.status }),
};
