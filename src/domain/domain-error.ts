/** The ten kinds of failure that every dialect knows how to say. */
export type ErrorKind =
  | 'invalid'
  | 'unauthenticated'
  | 'forbidden'
  | 'not_found'
  | 'conflict'
  | 'refused'
  | 'limited'
  | 'too_large'
  | 'unavailable'
  | 'internal';

/**
 * A failure with a meaning. `code` is stable and names the one thing that went wrong (`client_not_found`); a dialect
 * turns it into its contract's text, or falls back to `message`, which must be fit for a caller's eyes: no secret, no
 * SQL, no stack. `data` holds what a dialect's text needs (names, numbers).
 */
export class DomainError extends Error {
  constructor(
    readonly kind: ErrorKind,
    readonly code: string,
    message: string,
    readonly data: Readonly<Record<string, unknown>> = {},
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.name = 'DomainError';
  }
}
