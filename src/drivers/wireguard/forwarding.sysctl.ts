import { readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { bootId, networkNamespaceOf } from '../host/process.identity.js';
import { readState, removeState, writeState } from '../host/state.file.js';

const NET = '/proc/sys/net';
const IPV4 = 'ipv4/ip_forward';
const IPV6 = 'ipv6/conf/all/forwarding';

interface ForwardingRecord {
  bootId: string;
  networkNamespace: string;
  /** Settings that we changed, by path under /proc/sys/net, as they were before. In the order of change. */
  before: Record<string, string>;
}

/** Forwarding is off and cannot be turned on from here. */
export class ForwardingError extends Error {}

/**
 * Turns on the forwarding that tunnels need, and puts back what it changed. The old values are on disk before the first
 * one changes, and count only in this boot and network namespace.
 */
export class ForwardingSysctl {
  /** Longer than a device's name can be, so that no device's record has this name. */
  private readonly path: string;

  constructor(dataDir: string) {
    this.path = join(dataDir, 'wireguard', 'forwarding-before.json');
  }

  /** Throws ForwardingError, with the setting's name in it. */
  async enable(families: { ipv4: boolean; ipv6: boolean }): Promise<void> {
    if (families.ipv4) await this.set([[IPV4, '1']]);
    if (families.ipv6 && (await read(IPV6)) !== '1') {
      // A forwarding host ignores router advertisements unless told otherwise, and would lose its default route.
      const keep = (await routerAdvertisementSettings()).map((path): [string, string] => [path, '2']);
      await this.set([...keep, [IPV6, '1']]);
    }
  }

  /** Puts back what `enable` changed and nobody else changed since. `keepIpv4`, `keepIpv6`: another needs it now. */
  async restore(keep: { ipv4: boolean; ipv6: boolean }): Promise<void> {
    const before = await this.recorded();
    for (const [path, value] of Object.entries(before).reverse()) {
      const kept = path === IPV4 ? keep.ipv4 : keep.ipv6;
      const ours = path.endsWith('accept_ra') ? '2' : '1';
      if (!kept && (await read(path)) === ours) await write(path, value).catch(() => {});
    }
    await removeState(this.path);
  }

  private async set(settings: [path: string, value: string][]): Promise<void> {
    const before = await this.recorded();
    const changes: [string, string][] = [];
    for (const [path, value] of settings) {
      const present = await read(path);
      if (present === value) continue;
      if (present === null) throw new ForwardingError(`net.${path.replaceAll('/', '.')} is not there`);
      before[path] ??= present;
      changes.push([path, value]);
    }
    if (changes.length === 0) return;
    await writeState(this.path, {
      bootId: await bootId(),
      networkNamespace: (await networkNamespaceOf()) ?? '',
      before,
    } satisfies ForwardingRecord);
    for (const [path, value] of changes) {
      await write(path, value).catch(() => {
        throw new ForwardingError(`net.${path.replaceAll('/', '.')} is off and may not be changed`);
      });
    }
  }

  private async recorded(): Promise<Record<string, string>> {
    const record = await readState<ForwardingRecord>(this.path);
    const counts = record?.bootId === (await bootId()) && record.networkNamespace === (await networkNamespaceOf());
    return counts ? { ...record.before } : {};
  }
}

/** The links that take router advertisements only as long as the host does not forward. */
async function routerAdvertisementSettings(): Promise<string[]> {
  const links = await readdir(join(NET, 'ipv6/conf')).catch(() => []);
  const found: string[] = [];
  for (const link of links) {
    const path = `ipv6/conf/${link}/accept_ra`;
    if (link !== 'all' && link !== 'default' && link !== 'lo' && (await read(path)) === '1') found.push(path);
  }
  return found;
}

async function read(path: string): Promise<string | null> {
  return readFile(join(NET, path), 'utf8').then(
    (text) => text.trim(),
    () => null,
  );
}

async function write(path: string, value: string): Promise<void> {
  await writeFile(join(NET, path), value);
}
