import ipaddr from 'ipaddr.js';

/** An interface's IPv4 network with the server's own place in it. */
export interface Ipv4Range {
  /** `10.0.0.1/24` */
  address: string;
  /** `10.0.0.0/24` */
  network: string;
  prefix: number;
}

/**
 * Reads `address/prefix` strictly: four decimal parts, a prefix from 8 to 30, and a host address (neither the
 * network's own nor the broadcast address, not loopback, multicast or reserved). Null when it is anything else.
 */
export function parseIpv4Range(text: string): Ipv4Range | null {
  const match = /^(\d{1,3}(?:\.\d{1,3}){3})\/(\d{1,2})$/.exec(text.trim());
  if (!match?.[1] || !match[2]) return null;
  if (!ipaddr.IPv4.isValidFourPartDecimal(match[1])) return null;
  const prefix = Number(match[2]);
  if (prefix < 8 || prefix > 30) return null;
  const address = ipaddr.IPv4.parse(match[1]);
  if (!['private', 'unicast', 'carrierGradeNat'].includes(address.range())) return null;
  const network = ipaddr.IPv4.networkAddressFromCIDR(`${address.toString()}/${prefix}`).toString();
  const broadcast = ipaddr.IPv4.broadcastAddressFromCIDR(`${address.toString()}/${prefix}`).toString();
  if (address.toString() === network || address.toString() === broadcast) return null;
  return { address: `${address.toString()}/${prefix}`, network: `${network}/${prefix}`, prefix };
}

/** Hosts that a range has room for beside the server: all but network, broadcast and the server itself. */
export function clientCapacity(range: Ipv4Range): number {
  return 2 ** (32 - range.prefix) - 3;
}
