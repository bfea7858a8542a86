import type { ErrorKind } from '../domain/domain-error.js';

/** One bad field of a request, named as the caller wrote it (`peers.0.name`). */
export interface FieldFault {
  field: string;
  message: string;
}

/** A failure on its way out, with everything a dialect may want to show of it. */
export interface ErrorView {
  status: number;
  kind: ErrorKind;
  /** Stable name of what went wrong. */
  code: string;
  /** Fit for a caller's eyes. The dialect's own text for the code when it has one. */
  message: string;
  data: Readonly<Record<string, unknown>>;
  requestId: string;
  /** Set for a validation failure only. */
  fields: readonly FieldFault[];
}

/** Requests a minute. */
export interface DialectLimits {
  anonymous: number;
  authenticated: number;
  /** Sends X-RateLimit-Limit, -Remaining and -Reset (epoch seconds) with every answer. */
  headers: boolean;
}

/** How one of the contracts says no. Wire names live here and in the dialect's folder only. */
export interface Dialect {
  /** Name of its folder: `wg-easy`. */
  name: string;
  /** Path prefixes that it owns, whole segments. The longest prefix over all dialects wins; `''` is the fallback. */
  prefixes: readonly string[];
  status: Readonly<Record<ErrorKind, number>>;
  /** Texts that the contract prescribes, by error code. */
  texts?: Readonly<Partial<Record<string, (error: ErrorView) => string>>>;
  limits: DialectLimits;
  body(error: ErrorView): unknown;
}
