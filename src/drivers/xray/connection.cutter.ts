import { execFile } from 'node:child_process';
import { isIP } from 'node:net';
import { ProxyRefusedError, ProxyUnavailableError } from '../../domain/xray/proxy-engine.port.js';
import { programPath } from '../../platform/config/program-path.js';

const COMMAND_TIMEOUT_MS = 10_000;
/** Keeps one filter within what the kernel takes. */
const ADDRESSES_AT_ONCE = 64;

/** Closes connections from these addresses to these ports of this host. False when the host cannot. */
export async function cutConnections(ports: readonly number[], addresses: readonly string[]): Promise<boolean> {
  const valid = addresses.every((address) => isIP(address) !== 0);
  if (!valid) throw new ProxyRefusedError('An address whose connections should be cut is not valid');
  if (ports.length === 0) return true;
  const here = `( ${ports.map((port) => `sport = :${port}`).join(' or ')} )`;
  for (let at = 0; at < addresses.length; at += ADDRESSES_AT_ONCE) {
    const there = addresses.slice(at, at + ADDRESSES_AT_ONCE).flatMap(forms);
    const filter = `${here} and ( ${there.map((form) => `dst = ${form}`).join(' or ')} )`;
    const words = filter.split(' ');
    if ((await ss(['-K', '-H', '-t', '-n', 'state', 'connected', ...words])) === null) return false;
    // A kernel without the right to destroy sockets says nothing and leaves them.
    const left = await ss(['-H', '-t', '-n', 'state', 'established', ...words]);
    if (left === null || left.trim() !== '') return false;
  }
  return true;
}

/** A socket that serves both families has IPv4 clients in their mapped form. */
function forms(address: string): string[] {
  return isIP(address) === 4 ? [address, `[::ffff:${address}]`] : [`[${address}]`];
}

/** What it printed; null when it failed. */
function ss(args: readonly string[]): Promise<string | null> {
  const options = {
    timeout: COMMAND_TIMEOUT_MS,
    killSignal: 'SIGKILL' as const,
    maxBuffer: 16 * 1024 * 1024,
    env: { PATH: programPath, LC_ALL: 'C' },
  };
  return new Promise((resolve, reject) => {
    execFile('ss', args, options, (error, stdout) => {
      if (error?.killed) reject(new ProxyUnavailableError('ss did not end in time'));
      else resolve(error === null ? stdout : null);
    });
  });
}
