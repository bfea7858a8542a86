import { randomBytes } from 'node:crypto';

/** A /64 that nobody else is likely to have: `fd`, 40 random bits, and the first of their subnets (RFC 4193). */
export function randomUlaRange(): string {
  const globalId = randomBytes(5).toString('hex');
  return `fd${globalId.slice(0, 2)}:${globalId.slice(2, 6)}:${globalId.slice(6)}::/64`;
}

/**
 * SQL for the IPv6 address that belongs to an IPv4 address of interface `i`: its IPv6 range with the same host number.
 * It has the prefix length of the range. Null without such a range.
 */
export const ipv6Beside = (address: string): string => `(i.ipv6_range + (${address} - i.range))`;
