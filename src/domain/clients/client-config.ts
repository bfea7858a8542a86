/** What stands in a client's config file. Every value was validated where it was stored: none holds a newline. */
export interface ClientConfigParts {
  privateKey: string;
  /** Bare addresses, IPv4 first. */
  addresses: string[];
  /** Comma separated; left out when empty. */
  dns: string;
  mtu: number;
  serverPublicKey: string;
  presharedKey: string;
  /** Host name or address, an IPv6 address without brackets. */
  endpointHost: string;
  endpointPort: number;
  /** Comma separated CIDRs that go through the tunnel. */
  allowedIps: string;
  /** Seconds between keepalives, 0 for none. */
  persistentKeepalive: number;
}

/** The file that a WireGuard application takes, as `wg-quick` reads it. */
export function renderClientConfig(parts: ClientConfigParts): string {
  const host = parts.endpointHost.includes(':') ? `[${parts.endpointHost}]` : parts.endpointHost;
  const lines = [
    '[Interface]',
    `PrivateKey = ${parts.privateKey}`,
    `Address = ${parts.addresses.map((address) => `${address}/${address.includes(':') ? 128 : 32}`).join(', ')}`,
    ...(parts.dns === '' ? [] : [`DNS = ${parts.dns}`]),
    `MTU = ${parts.mtu}`,
    '',
    '[Peer]',
    `PublicKey = ${parts.serverPublicKey}`,
    `PresharedKey = ${parts.presharedKey}`,
    `Endpoint = ${host}:${parts.endpointPort}`,
    `AllowedIPs = ${parts.allowedIps}`,
    ...(parts.persistentKeepalive > 0 ? [`PersistentKeepalive = ${parts.persistentKeepalive}`] : []),
  ];
  return `${lines.join('\n')}\n`;
}
