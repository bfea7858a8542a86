import { randomBytes } from 'node:crypto';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type PeerChange,
  type PeerSpec,
  TunnelRefusedError,
  TunnelUnavailableError,
} from '../../domain/tunnels/tunnel.port.js';
import { CommandFailedError, runCommand } from './command.runner.js';
import { epochOf } from '../host/epoch.js';
import { bootId, networkNamespaceOf } from '../host/process.identity.js';
import type { DeviceRecords } from './device.state.js';
import { deleteLink, showLink } from './network.link.js';
import { parseDump, renderPeers } from './wg.format.js';
import type { DeviceIdentity, DeviceState, WireguardTransport } from './wireguard.transport.js';

/** A peer takes three arguments of some 60 bytes; Linux takes 2 MiB of them. */
const PEERS_PER_COMMAND = 500;

/** Devices of the kernel module, spoken to by `wg` and `ip`. They need no process, so they cannot hang by themselves. */
export class KernelTransport implements WireguardTransport {
  readonly backend = 'kernel';

  constructor(private readonly records: DeviceRecords) {}

  async create(name: string): Promise<void> {
    const record = { backend: this.backend, bootId: await bootId() } as const;
    await this.records.write(name, record);
    try {
      await runCommand('ip', ['link', 'add', 'dev', name, 'type', 'wireguard']);
    } catch (error) {
      throw explained(error);
    }
    const link = await showLink(name);
    if (link === null) throw new TunnelUnavailableError(`The device ${name} went away while it was made`);
    await this.records.write(name, { ...record, linkIndex: link.index });
  }

  async destroy(name: string): Promise<void> {
    await deleteLink(name);
    await this.records.remove(name);
  }

  async madeByUs(name: string): Promise<boolean> {
    const record = await this.records.read(name, await bootId());
    if (record === null || record.backend !== this.backend) return false;
    if (record.linkIndex !== undefined) return record.linkIndex === (await showLink(name))?.index;
    // The making was cut short before the index was known; one that has a key by now may be another's.
    return (await this.identify(name)).publicKey === null;
  }

  hangs(): Promise<boolean> {
    return Promise.resolve(false);
  }

  livesElsewhere(): Promise<boolean> {
    return Promise.resolve(false);
  }

  async epoch(name: string): Promise<number> {
    const link = await showLink(name);
    return epochOf(await bootId(), (await networkNamespaceOf()) ?? '', link?.index ?? 0);
  }

  /** The kernel opens the port when the link comes up, or says at once that it cannot. */
  async listensOn(name: string, port: number): Promise<boolean> {
    return (await this.identify(name)).listenPort === port;
  }

  async identify(name: string): Promise<DeviceIdentity> {
    const publicKey = (await wg(['show', name, 'public-key'])).trim();
    const listenPort = (await wg(['show', name, 'listen-port'])).trim();
    return { publicKey: publicKey === '(none)' ? null : publicKey, listenPort: Number(listenPort) };
  }

  async read(name: string): Promise<DeviceState> {
    return parseDump(await wg(['show', name, 'dump']));
  }

  async configure(name: string, settings: { privateKey?: string; listenPort?: number }): Promise<void> {
    const port = settings.listenPort === undefined ? [] : ['listen-port', String(settings.listenPort)];
    if (settings.privateKey === undefined) {
      await wg(['set', name, ...port]);
    } else {
      await this.withFile(`${settings.privateKey}\n`, (path) => wg(['set', name, ...port, 'private-key', path]));
    }
  }

  async change(name: string, changes: readonly PeerChange[]): Promise<void> {
    // `wg set` makes a peer that is not there, which blocking must not.
    const present = changes.some((change) => change.action === 'block')
      ? new Set((await wg(['show', name, 'peers'])).split('\n'))
      : new Set<string>();
    for (const run of runsOf(changes)) {
      const sets: PeerSpec[] = [];
      const args: string[] = [];
      for (const change of run) {
        if (change.action === 'set') {
          sets.push(change.peer);
          present.add(change.peer.publicKey);
        } else if (change.action === 'remove') {
          args.push('peer', change.publicKey, 'remove');
          present.delete(change.publicKey);
        } else if (present.has(change.publicKey)) {
          args.push('peer', change.publicKey, 'allowed-ips', '');
        }
      }
      if (sets.length > 0) await this.withFile(renderPeers(sets), (path) => wg(['addconf', name, path]));
      if (args.length > 0) await wg(['set', name, ...args]);
    }
  }

  /** Keys go by a file of mode 0600: arguments are for everyone to see, and `wg` cannot open Node's pipe by a path. */
  private async withFile(text: string, work: (path: string) => Promise<unknown>): Promise<void> {
    await mkdir(this.records.folder, { recursive: true, mode: 0o700 });
    const path = join(this.records.folder, `.${randomBytes(8).toString('hex')}.secret`);
    try {
      await writeFile(path, text, { mode: 0o600, flag: 'wx' });
      await work(path);
    } finally {
      await rm(path, { force: true });
    }
  }
}

/** Splits changes, in their order, where sets and other changes meet, and where a run gets too long. */
export function runsOf(changes: readonly PeerChange[]): PeerChange[][] {
  const runs: PeerChange[][] = [];
  let last: PeerChange[] = [];
  for (const change of changes) {
    const fits = last[0] !== undefined && (last[0].action === 'set') === (change.action === 'set');
    if (!fits || last.length >= PEERS_PER_COMMAND) runs.push((last = []));
    last.push(change);
  }
  return runs;
}

async function wg(args: string[]): Promise<string> {
  try {
    return await runCommand('wg', args);
  } catch (error) {
    throw explained(error);
  }
}

function explained(error: unknown): unknown {
  if (!(error instanceof CommandFailedError)) return error;
  const { complaint } = error;
  if (complaint.includes('Address already in use')) return new TunnelRefusedError('The port is in use');
  // What `wg` says about a value it refuses has the value in it.
  if (complaint.startsWith('Key is not')) return new TunnelRefusedError('wg: a key is not valid');
  if (complaint.startsWith('Line unrecognized') || complaint.startsWith('Configuration parsing')) {
    return new TunnelRefusedError('wg: a value is not valid');
  }
  if (complaint.includes('Invalid argument')) return new TunnelRefusedError(`wg: ${complaint}`);
  return new TunnelUnavailableError(error.message, { cause: error });
}
