import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import type { FastifyReply, FastifyRequest, FastifyHttpOptions, RawServerDefault } from 'fastify';
import type { Config } from '../platform/config/config.js';
import type { ErrorRenderer } from './error.renderer.js';
import { pathOf } from './dialect.registry.js';
import { securityHeaders } from './security-headers.js';
import { toDomainError } from './to-domain-error.js';

export const routerOptions = { ignoreTrailingSlash: true, maxParamLength: 1024, caseSensitive: true };

/** Bodies larger than this are 413. */
const BODY_LIMIT_BYTES = 1024 * 1024;

/** What Fastify meets before any hook of ours runs is said by this, once the application is there. */
export interface EarlyErrors {
  renderer: ErrorRenderer | null;
}

/** The HTTP server, not listening yet. */
export function createAdapter(config: Config, early: EarlyErrors): FastifyAdapter {
  const options: FastifyHttpOptions<RawServerDefault> = {
    logger: false,
    routerOptions,
    bodyLimit: BODY_LIMIT_BYTES,
    trustProxy: config.trustProxy,
    genReqId: requestIdOf,
    // Slow headers end after 15 s, slow bodies after 30 s; idle connections outlive a balancer's 60 s.
    requestTimeout: 30_000,
    keepAliveTimeout: 72_000,
    http: { headersTimeout: 15_000, connectionsCheckingInterval: 5_000 },
    forceCloseConnections: 'idle',
    return503OnClosing: false,
    frameworkErrors: (error: Error, request: FastifyRequest, reply: FastifyReply) => {
      void sendEarly(early, error, request, reply);
    },
    clientErrorHandler: (error, socket) => answerSocket(early, error, socket),
  };
  return new FastifyAdapter(options);
}

/** The caller's X-Request-Id when it is fit for a log line, else a new one. */
export function requestIdOf(request: Pick<IncomingMessage, 'headers'>): string {
  const given = request.headers['x-request-id'];
  return typeof given === 'string' && /^[\w.:-]{1,64}$/.test(given) ? given : randomUUID();
}

function sendEarly(early: EarlyErrors, error: Error, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const url = request.raw.url ?? '/';
  const rendered = early.renderer?.render(toDomainError(error), { url, requestId: request.id });
  return reply
    .code(rendered?.status ?? 503)
    .headers({ ...securityHeaders(pathOf(url)), ...rendered?.headers, 'x-request-id': request.id })
    .type('application/json; charset=utf-8')
    .send(JSON.stringify(rendered?.body ?? {}));
}

interface ClientSocket {
  destroyed: boolean;
  writable: boolean;
  bytesWritten: number;
  /** Node's own: the answer that is under way on this connection. */
  _httpMessage?: { req?: IncomingMessage; headersSent?: boolean } | null;
  end(text: string): void;
  destroy(): void;
}

const clientErrors: Readonly<Record<string, [status: number, code: string, message: string]>> = {
  HPE_HEADER_OVERFLOW: [431, 'headers_too_large', 'The request headers are too large'],
  ERR_HTTP_REQUEST_TIMEOUT: [408, 'request_timeout', 'The request took too long to arrive'],
};

/** The request could not be read as HTTP: there is a socket and, at best, the request line that came before. */
function answerSocket(early: EarlyErrors, error: NodeJS.ErrnoException, socket: ClientSocket): void {
  if (error.code === 'ECONNRESET' || socket.destroyed) return;
  const underWay = socket._httpMessage;
  if (!socket.writable || underWay?.headersSent === true) {
    socket.destroy();
    return;
  }
  const [status, code, message] = clientErrors[error.code ?? ''] ?? [400, 'malformed_request', 'This is not HTTP'];
  const requestId = randomUUID();
  const body = early.renderer?.renderTransport(code, message, { url: underWay?.req?.url ?? '/', requestId }) ?? {};
  const text = JSON.stringify(body);
  socket.end(
    `HTTP/1.1 ${status} ${reasons[status]}\r\nContent-Type: application/json; charset=utf-8\r\n` +
      `Content-Length: ${Buffer.byteLength(text)}\r\nX-Request-Id: ${requestId}\r\nConnection: close\r\n\r\n${text}`,
  );
}

const reasons: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  408: 'Request Timeout',
  431: 'Request Header Fields Too Large',
};
