import { readFile } from 'node:fs/promises';

/** Whether this host speaks IPv6: its kernel has it, and it is not switched off. */
export async function hasIpv6(): Promise<boolean> {
  const disabled = await readFile('/proc/sys/net/ipv6/conf/all/disable_ipv6', 'utf8').catch(() => '1');
  return disabled.trim() === '0';
}
