import { readFile, writeFile } from 'node:fs/promises';
import { Logger } from '@nestjs/common';
import { TunnelRefusedError, TunnelUnavailableError } from '../../domain/tunnels/tunnel.port.js';
import { CommandFailedError, runCommand } from './command.runner.js';
import { canonicalAddress, isIpv6Cidr } from './peer.rules.js';

/** A network link as `ip` shows it. */
export interface NetworkLink {
  index: number;
  /** `wireguard`, `tun`, `dummy`, ...; empty for hardware. */
  kind: string;
  up: boolean;
  mtu: number;
}

interface LinkRow {
  ifindex?: number;
  flags?: string[];
  mtu?: number;
  linkinfo?: { info_kind?: string };
}

interface AddressRow {
  addr_info?: { local?: string; prefixlen?: number; scope?: string; family?: string }[];
}

/** Whether our own network namespace has the link. Starts no process. */
export async function hasLink(name: string): Promise<boolean> {
  const lines = (await readFile('/proc/net/dev', 'utf8')).split('\n');
  return lines.some((line) => line.slice(0, line.lastIndexOf(':')).trimStart() === name);
}

/** The link in our own network namespace; null when there is none of that name. */
export async function showLink(name: string): Promise<NetworkLink | null> {
  let text: string;
  try {
    text = await ip(['-j', '-d', 'link', 'show', 'dev', name]);
  } catch (error) {
    if (error instanceof CommandFailedError && isAbsence(error)) return null;
    throw explained(error);
  }
  const row = (JSON.parse(text) as LinkRow[]).find((entry) => entry.ifindex !== undefined);
  if (row === undefined) return null;
  return {
    index: row.ifindex!,
    kind: row.linkinfo?.info_kind ?? '',
    up: row.flags?.includes('UP') ?? false,
    mtu: row.mtu ?? 0,
  };
}

/** Throws TunnelRefusedError when a kernel device cannot open its port. */
export async function setLinkUp(name: string, up: boolean): Promise<void> {
  await change(['link', 'set', 'dev', name, up ? 'up' : 'down']);
}

export async function setMtu(name: string, mtu: number): Promise<void> {
  await change(['link', 'set', 'dev', name, 'mtu', String(mtu)]);
}

/** Absent is success. */
export async function deleteLink(name: string): Promise<void> {
  try {
    await ip(['link', 'del', 'dev', name]);
  } catch (error) {
    if (!(error instanceof CommandFailedError && isAbsence(error))) throw explained(error);
  }
}

/** Makes the link have exactly these addresses; IPv6 link-local ones are the kernel's own and stay. */
export async function ensureAddresses(name: string, addresses: readonly string[], logger: Logger): Promise<void> {
  let wanted = addresses.map(canonicalAddress);
  if (wanted.some(isIpv6Cidr) && !(await allowIpv6(name))) {
    logger.warn(`IPv6 is switched off on this host: ${name} goes without its IPv6 addresses`);
    wanted = wanted.filter((address) => !isIpv6Cidr(address));
  }
  const present = await listAddresses(name);
  // First what goes: with a primary address the kernel drops the secondary ones of its subnet.
  for (const address of present) {
    if (!wanted.includes(address)) await tolerate(['addr', 'del', address, 'dev', name], 'Cannot assign');
  }
  const left = present.every((address) => wanted.includes(address)) ? present : await listAddresses(name);
  for (const address of wanted) {
    if (left.includes(address)) continue;
    const nodad = isIpv6Cidr(address) ? ['nodad'] : [];
    await tolerate(['addr', 'add', address, 'dev', name, ...nodad], 'File exists');
  }
}

/** Inodes of the sockets of our network namespace that listen on the UDP port. Starts no process. */
export async function udpSockets(port: number): Promise<Set<string>> {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  const inodes = new Set<string>();
  for (const table of ['/proc/net/udp', '/proc/net/udp6']) {
    for (const line of (await readFile(table, 'utf8').catch(() => '')).split('\n')) {
      const fields = line.trimStart().split(/\s+/);
      if (fields[1]?.endsWith(suffix)) inodes.add(fields[9] ?? '');
    }
  }
  return inodes;
}

async function listAddresses(name: string): Promise<string[]> {
  const rows = JSON.parse((await change(['-j', 'addr', 'show', 'dev', name])) || '[]') as AddressRow[];
  return rows
    .flatMap((row) => row.addr_info ?? [])
    .filter((info) => info.local !== undefined && !(info.family === 'inet6' && info.scope === 'link'))
    .map((info) => canonicalAddress(`${info.local}/${info.prefixlen}`));
}

/** Containers often start with IPv6 off for new links; on a link of ours that may be changed. */
async function allowIpv6(name: string): Promise<boolean> {
  const setting = `/proc/sys/net/ipv6/conf/${name}/disable_ipv6`;
  const value = await readFile(setting, 'utf8').catch(() => null);
  if (value === null) return false;
  if (value.trim() === '0') return true;
  return writeFile(setting, '0').then(
    () => true,
    () => false,
  );
}

async function tolerate(args: string[], complaint: string): Promise<void> {
  try {
    await ip(args);
  } catch (error) {
    if (!(error instanceof CommandFailedError && error.complaint.includes(complaint))) throw explained(error);
  }
}

async function change(args: string[]): Promise<string> {
  try {
    return await ip(args);
  } catch (error) {
    throw explained(error);
  }
}

function ip(args: string[]): Promise<string> {
  return runCommand('ip', args);
}

function isAbsence(error: CommandFailedError): boolean {
  return /does not exist|Cannot find device/.test(error.complaint);
}

function explained(error: unknown): unknown {
  if (!(error instanceof CommandFailedError)) return error;
  if (error.complaint.includes('Address already in use')) return new TunnelRefusedError('The port is in use');
  return new TunnelUnavailableError(error.message, { cause: error });
}
