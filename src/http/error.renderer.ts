import { Injectable } from '@nestjs/common';
import { DomainError } from '../domain/domain-error.js';
import type { ErrorView } from './dialect.js';
import { DialectRegistry } from './dialect.registry.js';
import { transportStatus, ValidationError } from './to-domain-error.js';

/** What is known of the request that failed; little when it failed before it was routed. */
export interface FailedRequest {
  url: string;
  requestId: string;
  /** Statuses by error code that the route has against its dialect's table. */
  answers?: Readonly<Record<string, number>>;
}

export interface RenderedError {
  status: number;
  headers: Record<string, string>;
  body: unknown;
}

/** Says a failure in the words and the shape of the dialect that owns the request. */
@Injectable()
export class ErrorRenderer {
  constructor(private readonly dialects: DialectRegistry) {}

  render(error: DomainError, request: FailedRequest): RenderedError {
    const dialect = this.dialects.forUrl(request.url);
    const view: ErrorView = {
      status: request.answers?.[error.code] ?? transportStatus[error.code] ?? dialect.status[error.kind],
      kind: error.kind,
      code: error.code,
      message: error.kind === 'internal' ? `Internal server error, request ${request.requestId}` : error.message,
      data: error.data,
      requestId: request.requestId,
      fields: error instanceof ValidationError ? error.fields : [],
    };
    view.message = dialect.texts?.[error.code]?.(view) ?? view.message;
    return { status: view.status, headers: headersOf(error, view), body: dialect.body(view) };
  }

  /** The body for what could not even be read as a request. */
  renderTransport(code: string, message: string, request: FailedRequest): unknown {
    return this.render(new DomainError('invalid', code, message), request).body;
  }
}

function headersOf(error: DomainError, view: ErrorView): Record<string, string> {
  const headers: Record<string, string> = {};
  if (view.status === 401) headers['www-authenticate'] = 'Bearer';
  const seconds = error.data['retryAfterSeconds'];
  if (typeof seconds === 'number') headers['retry-after'] = String(Math.max(1, Math.ceil(seconds)));
  const allow = error.data['allow'];
  if (view.status === 405 && Array.isArray(allow)) headers['allow'] = allow.join(', ');
  return headers;
}
