import type { Role } from '../users/user.entity.js';

/** Who a request comes from, once its token was found good. */
export interface Principal {
  kind: 'user' | 'api_token';
  /** Null for API tokens, which belong to nobody. */
  userId: number | null;
  /** As the event log calls them: the user name, or `token:<name>`. */
  name: string;
  /** What API tokens with a narrow scope may do does not follow from their role, which is `user`. */
  role: Role;
  scope: 'full' | 'payments:verify';
  /** The id of the token (`jti`); null for API tokens. */
  sessionId: string | null;
  /** Null for API tokens, which do not expire. */
  expiresAt: Date | null;
}
