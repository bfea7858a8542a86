import { createHash } from 'node:crypto';
import { isIP } from 'node:net';
import { fastifyCookie } from '@fastify/cookie';
import type { FastifyRequest } from 'fastify';
import ipaddr from 'ipaddr.js';
import { pathOf } from './dialect.registry.js';

/** Cookie of wg-easy's sessions. It counts under wg-easy's paths only. */
export const sessionCookie = 'wg-easy';

/** The token of an Authorization header; null when there is none or it is of another scheme. */
export function bearerToken(request: FastifyRequest): string | null {
  const header = request.headers.authorization;
  if (header === undefined) return null;
  const match = /^Bearer +([^\s,]+) *$/i.exec(header);
  return match?.[1] ?? null;
}

/** One key for all addresses that one subscriber has: an IPv4 address, or the /64 network of an IPv6 one. */
export function addressKey(ip: string): string {
  if (!ipaddr.isValid(ip)) return ip;
  const address = ipaddr.process(ip);
  if (address instanceof ipaddr.IPv4) return address.toString();
  const network = address.parts.slice(0, 4).map((part) => part.toString(16));
  return `${network.join(':')}::/64`;
}

/**
 * What is left of X-Forwarded-For when only addresses count: some proxies add ports, and whatever a caller put there must
 * not become a key or a column. Null when nothing is left.
 */
export function cleanForwardedFor(header: string | string[]): string | null {
  const addresses = [header]
    .flat()
    .flatMap((line) => line.split(','))
    .map((entry) =>
      entry
        .trim()
        .replace(/^\[([^\]]+)\](?::\d+)?$/, '$1')
        .replace(/^([\d.]+):\d+$/, '$1'),
    )
    .filter((entry) => isIP(entry) !== 0);
  return addresses.length === 0 ? null : addresses.join(', ');
}

/** Whether the request came through a proxy, as that says. A proxy on this host makes the whole world look local. */
export function isForwarded(request: FastifyRequest): boolean {
  return ['x-forwarded-for', 'forwarded', 'x-real-ip', 'via'].some((name) => name in request.headers);
}

/** The caller's address; null when it came through a proxy that TRUST_PROXY does not name: it may be anybody's. */
export function callerAddress(request: FastifyRequest): string | null {
  const trusted = (request.ips?.length ?? 1) > 1;
  return isForwarded(request) && !trusted ? null : request.ip;
}

/** Stands for a token in a key without keeping the token. */
export function fingerprint(token: string): string {
  return createHash('sha256').update(token).digest('base64url').slice(0, 22);
}

/** Paths under which the cookie counts. */
const cookiePaths = ['/api/session', '/api/wireguard'];

export interface ShownToken {
  value: string;
  from: 'header' | 'cookie';
}

declare module 'fastify' {
  interface FastifyRequest {
    /** Kept here by `tokenOf`. */
    shownToken?: ShownToken | null | undefined;
  }
}

/** The token that a request brings, and how. A header wins over a cookie. */
export function tokenOf(request: FastifyRequest): ShownToken | null {
  if (request.shownToken === undefined) request.shownToken = readToken(request);
  return request.shownToken;
}

function readToken(request: FastifyRequest): ShownToken | null {
  const bearer = bearerToken(request);
  if (bearer !== null) return { value: bearer, from: 'header' };
  const header = request.headers.cookie;
  if (header === undefined) return null;
  const path = pathOf(request.raw.url ?? '/');
  if (!cookiePaths.some((prefix) => path === prefix || path.startsWith(`${prefix}/`))) return null;
  const value = fastifyCookie.parse(header)[sessionCookie];
  return value ? { value, from: 'cookie' } : null;
}

/** Whether the page that sent this request is of this very server; a browser says so with every changing request. */
export function isSameOrigin(request: FastifyRequest): boolean {
  const { origin } = request.headers;
  if (origin === undefined) return request.headers['sec-fetch-site'] !== 'cross-site';
  return URL.canParse(origin) && new URL(origin).host === request.host;
}
