import type { FirewallSpec } from '../../domain/tunnels/tunnel.port.js';
import { canonicalCidr, isIpv6Cidr } from './peer.rules.js';

/** Our own table, and the comment on our rules in chains of others. */
export const TABLE = 'inet causeway';
export const COMMENT = 'causeway';

/** Private, shared and link-local networks: what may lie behind this host and is not the internet. */
const LAN4 = '10.0.0.0/8, 100.64.0.0/10, 169.254.0.0/16, 172.16.0.0/12, 192.168.0.0/16';
const LAN6 = 'fc00::/7, fe80::/10';
/** Where clouds hand out credentials of the machine. */
const METADATA = ['ip daddr 169.254.169.254 drop', 'ip6 daddr fd00:ec2::254 drop'];

/** A chain of another program that would drop what we forward, or what comes to our port. */
export interface ForeignChain {
  family: 'ip' | 'ip6' | 'inet';
  table: string;
  name: string;
  side: 'forward' | 'input';
  /** Handles of our rules that stand in it now. */
  handles: number[];
  /** Takes new rules; one that does not only loses the old. */
  wanted: boolean;
}

/**
 * One nft transaction: our table becomes exactly this, our rules in chains of others too. Device names and ranges are
 * valid here; nothing else of a caller gets in. Without devices nothing of ours is left.
 */
export function renderTransaction(devices: readonly FirewallSpec[], foreign: readonly ForeignChain[]): string {
  // Adding first makes the deletion hold whether or not the table is there.
  const lines = [`add table ${TABLE}`, `delete table ${TABLE}`];
  if (devices.length > 0) lines.push(...renderTable(devices));
  for (const chain of foreign) {
    const target = `${chain.family} ${chain.table} ${chain.name}`;
    for (const handle of chain.handles) lines.push(`delete rule ${target} handle ${handle}`);
    if (devices.length === 0 || !chain.wanted) continue;
    for (const rule of foreignRules(chain, devices)) lines.push(`insert rule ${target} ${rule} comment "${COMMENT}"`);
  }
  return `${lines.join('\n')}\n`;
}

function renderTable(devices: readonly FirewallSpec[]): string[] {
  const ours = nameSet(devices);
  const input = devices.filter((spec) => !spec.allowHost).flatMap(inputRules);
  return [
    `table ${TABLE} {`,
    renderChain('input', 'type filter hook input priority filter; policy accept;', input),
    renderChain('forward', 'type filter hook forward priority filter; policy accept;', [
      `iifname ${ours} tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu`,
      `oifname ${ours} tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu`,
      ...METADATA.map((rule) => `iifname ${ours} ${rule}`),
      // Between devices too: a client of one is a peer to the clients of another.
      ...devices
        .filter((spec) => !spec.allowPeers)
        .flatMap(({ device }) => [
          `iifname "${device}" oifname ${ours} drop`,
          `iifname ${ours} oifname "${device}" drop`,
        ]),
      ...devices.filter((spec) => !spec.allowLan).flatMap(lanRules),
      `iifname ${ours} accept`,
      `oifname ${ours} ct state established,related accept`,
    ]),
    renderChain(
      'postrouting',
      'type nat hook postrouting priority srcnat; policy accept;',
      rangesOf(devices).map((range) => `${family(range)} saddr ${range} oifname != ${ours} masquerade`),
    ),
    '}',
  ];
}

/**
 * Answers to what the host began pass, as do ICMP (path MTU, ping) and DNS: a resolver on the device's own address is
 * how clients are often given one.
 */
function inputRules({ device }: FirewallSpec): string[] {
  return [
    `iifname "${device}" ct direction reply accept`,
    `iifname "${device}" meta l4proto { icmp, ipv6-icmp } accept`,
    `iifname "${device}" udp dport 53 accept`,
    `iifname "${device}" tcp dport 53 accept`,
    `iifname "${device}" drop`,
  ];
}

/** By the direction of the connection and not its state: closing the LAN ends what is open, too. */
function lanRules({ device, ranges }: FirewallSpec): string[] {
  return [
    `iifname "${device}" ct direction reply accept`,
    ...ranges.map(canonicalCidr).map((range) => `iifname "${device}" ${family(range)} daddr ${range} accept`),
    `iifname "${device}" ip daddr { ${LAN4} } drop`,
    `iifname "${device}" ip6 daddr { ${LAN6} } drop`,
  ];
}

/** In reverse: each is inserted at the top. */
function foreignRules({ family: layer, side }: ForeignChain, devices: readonly FirewallSpec[]): string[] {
  const ours = nameSet(devices);
  if (side === 'input')
    return [`udp dport { ${[...new Set(devices.map((spec) => spec.listenPort))].join(', ')} } accept`];
  const has = layer === 'inet' || rangesOf(devices).some((range) => family(range) === layer);
  return has ? [`oifname ${ours} ct state established,related accept`, `iifname ${ours} accept`] : [];
}

export function rangesOf(devices: readonly FirewallSpec[]): string[] {
  return [...new Set(devices.flatMap((spec) => spec.ranges.map(canonicalCidr)))];
}

function renderChain(name: string, head: string, rules: readonly string[]): string {
  return [`  chain ${name} {`, `    ${head}`, ...rules.map((rule) => `    ${rule}`), '  }'].join('\n');
}

function nameSet(devices: readonly FirewallSpec[]): string {
  return `{ ${devices.map((spec) => `"${spec.device}"`).join(', ')} }`;
}

function family(range: string): 'ip' | 'ip6' {
  return isIpv6Cidr(range) ? 'ip6' : 'ip';
}
