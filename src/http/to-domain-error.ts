import { HttpException } from '@nestjs/common';
import { ThrottlerException } from '@nestjs/throttler';
import { DomainError, type ErrorKind } from '../domain/domain-error.js';
import type { FieldFault } from './dialect.js';

/** A request failed validation. `fields` names each bad field once. */
export class ValidationError extends DomainError {
  constructor(readonly fields: readonly FieldFault[]) {
    super('invalid', 'validation_failed', fields.map((fault) => fault.message).join('; '), { fields });
  }
}

/** Statuses of the transport that no kind stands for; the same in every dialect. */
export const transportStatus: Readonly<Record<string, number>> = {
  method_not_allowed: 405,
  request_timeout: 408,
  uri_too_long: 414,
  unsupported_media_type: 415,
  headers_too_large: 431,
  not_implemented: 501,
};

/**
 * Gives whatever was thrown below the filter a kind. What nobody meant to throw becomes `internal`, whose message says
 * nothing; the cause stays on the error for the log.
 */
export function toDomainError(error: unknown): DomainError {
  if (error instanceof DomainError) return error;
  const known = fromFastify(error) ?? fromHttp(error);
  if (known) return known;
  if (hasUnstorableText(error)) {
    const message = 'A text has a character that cannot be stored';
    return new DomainError('invalid', 'text_not_storable', message, {}, { cause: error });
  }
  if (isDatabaseDown(error)) {
    return new DomainError('unavailable', 'database_unavailable', 'The database does not answer', {}, { cause: error });
  }
  return new DomainError('internal', 'internal_error', 'Internal server error', {}, { cause: error });
}

const fastifyErrors: Readonly<Record<string, [ErrorKind, string, string]>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: ['too_large', 'body_too_large', 'The request body is too large'],
  FST_ERR_CTP_INVALID_MEDIA_TYPE: [
    'invalid',
    'unsupported_media_type',
    'The body must be JSON, sent with Content-Type: application/json',
  ],
  FST_ERR_CTP_EMPTY_TYPE: ['invalid', 'unsupported_media_type', 'The request has a body but no Content-Type'],
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: ['invalid', 'bad_content_length', 'Content-Length does not match the body'],
  FST_ERR_CTP_INVALID_JSON_BODY: ['invalid', 'malformed_json', 'The request body is not valid JSON'],
  FST_ERR_BAD_URL: ['invalid', 'malformed_url', 'The URL is not encoded correctly'],
  FST_ERR_MAX_PARAM_LENGTH: ['not_found', 'route_not_found', 'Not found'],
};

function fromFastify(error: unknown): DomainError | null {
  const entry = fastifyErrors[codeOf(error) ?? ''] ?? fastifyErrors[codeOf(causeOf(error)) ?? ''];
  if (entry === undefined) return null;
  const [kind, code, message] = entry;
  return new DomainError(kind, code, message, {}, { cause: error });
}

const httpErrors: Readonly<Record<number, [ErrorKind, string, string]>> = {
  400: ['invalid', 'bad_request', 'Bad request'],
  401: ['unauthenticated', 'unauthenticated', 'Not authenticated'],
  403: ['forbidden', 'forbidden', 'Forbidden'],
  404: ['not_found', 'not_found', 'Not found'],
  405: ['invalid', 'method_not_allowed', 'Method not allowed'],
  408: ['invalid', 'request_timeout', 'The request took too long to arrive'],
  409: ['conflict', 'conflict', 'Conflict'],
  413: ['too_large', 'body_too_large', 'The request body is too large'],
  414: ['invalid', 'uri_too_long', 'The URL is too long'],
  415: ['invalid', 'unsupported_media_type', 'Unsupported media type'],
  422: ['invalid', 'bad_request', 'Bad request'],
  429: ['limited', 'rate_limited', 'Rate limit exceeded'],
  503: ['unavailable', 'unavailable', 'Temporarily unavailable'],
};

function fromHttp(error: unknown): DomainError | null {
  if (error instanceof ThrottlerException) {
    return new DomainError('limited', 'rate_limited', 'Rate limit exceeded', {}, { cause: error });
  }
  const status = statusOf(error);
  if (status === null) return null;
  // Texts of Nest and Fastify may quote internals, so each status has a text of ours.
  const entry = httpErrors[status] ?? (status >= 400 && status < 500 ? httpErrors[400] : undefined);
  if (entry === undefined) return null;
  const [kind, code, message] = entry;
  return new DomainError(kind, code, message, {}, { cause: error });
}

function statusOf(error: unknown): number | null {
  if (error instanceof HttpException) return error.getStatus();
  // Errors of Fastify and of http-errors carry their status; an error of anything else with such a field is not for HTTP.
  if (error instanceof Error && (error.name === 'FastifyError' || 'expose' in error)) {
    const { statusCode } = error as { statusCode?: unknown };
    if (typeof statusCode === 'number') return statusCode;
  }
  return null;
}

/** PostgreSQL has no NUL in its texts. DTOs refuse it; paths and bodies without a DTO may bring one. */
function hasUnstorableText(error: unknown): boolean {
  const { driverError } = error instanceof Error ? (error as { driverError?: unknown }) : {};
  return codeOf(driverError) === '22021';
}

/**
 * The database is away, shutting down, full, or too slow: the connection ended (severity FATAL, SQLSTATE classes 08 and
 * 57P), it lacks something (53), the statement ran out of time (57014), or there was no connection to be had.
 */
function isDatabaseDown(error: unknown): boolean {
  for (let current = error, depth = 0; current instanceof Error && depth < 5; current = causeOf(current), depth += 1) {
    if (lostConnections.has(current.name)) return true;
    const { driverError } = current as { driverError?: unknown };
    const isQuery = current.name === 'QueryFailedError';
    for (const told of [current, driverError]) {
      if (!(told instanceof Error)) continue;
      const { severity } = told as { severity?: unknown };
      const code = codeOf(told) ?? '';
      if (severity === 'FATAL' || severity === 'PANIC' || isPgSocketError(told)) return true;
      if ((isQuery || severity !== undefined) && /^(08|53|57P|57014$)/.test(code)) return true;
      if (isQuery && socketCodes.has(code)) return true;
    }
  }
  return false;
}

/** What TypeORM throws without a connection, or when one broke between two statements of a transaction. */
const lostConnections = new Set([
  'CannotExecuteNotConnectedError',
  'ConnectionIsNotSetError',
  'QueryRunnerAlreadyReleasedError',
  'QueryRunnerProviderAlreadyReleasedError',
]);

const socketCodes = new Set(['ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'ENOENT', 'ETIMEDOUT', 'EHOSTUNREACH']);

/** pg raises these without a code of its own. */
function isPgSocketError(error: Error): boolean {
  return /^(Connection terminated|timeout exceeded when trying to connect|Client has encountered a connection error|Cannot use a pool after calling end)/.test(
    error.message,
  );
}

function codeOf(error: unknown): string | null {
  const code = (error as { code?: unknown } | null | undefined)?.code;
  return typeof code === 'string' ? code : null;
}

function causeOf(error: unknown): unknown {
  return error instanceof Error ? error.cause : undefined;
}
