import { readFile, readdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';

const LISTENING = '0A';

/** Inodes of the sockets that listen on a TCP port in our own network namespace, on whatever address. */
export async function tcpListeners(port: number): Promise<Set<string>> {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  const inodes = new Set<string>();
  for (const file of ['/proc/net/tcp', '/proc/net/tcp6']) {
    const text = await readFile(file, 'utf8').catch(() => '');
    for (const line of text.split('\n').slice(1)) {
      const fields = line.trim().split(/\s+/);
      if (fields[3] === LISTENING && fields[1]!.endsWith(suffix)) inodes.add(fields[9]!);
    }
  }
  return inodes;
}

/** Whether the process holds one of the sockets. */
export async function holdsSocket(pid: number, inodes: ReadonlySet<string>): Promise<boolean> {
  if (inodes.size === 0) return false;
  const folder = `/proc/${pid}/fd`;
  for (const entry of await readdir(folder).catch(() => [])) {
    const target = await readlink(join(folder, entry)).catch(() => '');
    if (target.startsWith('socket:[') && inodes.has(target.slice(8, -1))) return true;
  }
  return false;
}
