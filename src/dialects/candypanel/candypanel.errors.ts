import { ApiProperty } from '@nestjs/swagger';
import type { ErrorKind } from '../../domain/domain-error.js';
import type { Dialect, ErrorView } from '../../http/dialect.js';

/** Every error of CandyPanel's API. */
export class CandyPanelError {
  /** What went wrong; for a validation failure one sentence that names each bad field. */
  @ApiProperty({ example: "Client 'alice' not found." })
  detail: string;
}

const status = {
  invalid: 400,
  unauthenticated: 401,
  forbidden: 403,
  not_found: 404,
  conflict: 400,
  refused: 400,
  limited: 429,
  too_large: 413,
  unavailable: 503,
  internal: 500,
} satisfies Record<ErrorKind, number>;

/** A missing second factor too: the contract knows one answer to a login that failed. */
const badLogin = () => 'Wrong username or password!';

const apiTokenRefused = ({ message }: ErrorView) => `Failed to add/update API token: ${message}`;

export const candypanel: Dialect = {
  name: 'candypanel',
  // Its routes stand at the root, so whatever nobody else claims is answered in its shape.
  prefixes: [''],
  status,
  texts: {
    wrong_credentials: badLogin,
    totp_required: badLogin,
    totp_wrong: badLogin,
    token_missing: () => 'Not authenticated',
    token_invalid: () => 'Invalid authentication credentials',
    route_not_found: () => 'Not Found',
    method_not_allowed: () => 'Method Not Allowed',
    setting_unknown: () => 'Invalid Key',
    sync_failed: ({ data, message }) =>
      `Synchronization failed: ${typeof data['reason'] === 'string' ? data['reason'] : message}`,
    api_token_not_found: ({ data }) => `API token '${String(data['name'])}' not found.`,
    api_token_invalid: apiTokenRefused,
    api_token_value_taken: apiTokenRefused,
  },
  limits: { anonymous: 600, authenticated: 600, headers: false },
  body: (error): CandyPanelError => ({ detail: error.message }),
};
