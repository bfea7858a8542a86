import { randomBytes } from 'node:crypto';
import { readdir, readlink, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { type PeerChange, TunnelUnavailableError } from '../../domain/tunnels/tunnel.port.js';
import { publicKeyOf } from '../../platform/crypto/x25519.js';
import { epochOf } from '../host/epoch.js';
import {
  endProcess,
  exists,
  findProgram,
  keepLogShort,
  lastWords,
  settled,
  startDetached,
} from '../host/process.control.js';
import {
  type ProcessIdentity,
  bootId,
  commandLineOf,
  environmentOf,
  findProcesses,
  isAlive,
  networkNamespaceOf,
  startTimeOf,
} from '../host/process.identity.js';
import type { DeviceRecord, DeviceRecords } from './device.state.js';
import { deleteLink, hasLink, showLink, udpSockets } from './network.link.js';
import { UapiAbsentError, UapiClient, UapiSilentError, socketPath } from './uapi.client.js';
import { keyToHex, renderChanges } from './uapi.format.js';
import type { DeviceIdentity, DeviceState, WireguardTransport } from './wireguard.transport.js';

export const PROGRAM = 'wireguard-go';
const TOKEN_VARIABLE = 'CAUSEWAY_DEVICE';
/** wireguard-go holds one lock for a whole `set`: readers wait for no more than these. */
const CHANGES_PER_SET = 300;
const HANGS_AFTER_MS = 10_000;

interface Owner {
  process: ProcessIdentity;
  ours: boolean;
}

/** Devices of wireguard-go: one process each, in a session of its own, so that it outlives this server. */
export class UserspaceTransport implements WireguardTransport {
  readonly backend = 'wireguard-go';

  private readonly clients = new Map<string, UapiClient>();
  private readonly owners = new Map<string, Owner>();
  /** Since when the device's process has not answered, in ms of the monotonic clock. */
  private readonly silentSince = new Map<string, number>();

  constructor(private readonly records: DeviceRecords) {}

  async create(name: string): Promise<void> {
    const program = await findProgram(PROGRAM);
    if (program === null) throw new TunnelUnavailableError(`${PROGRAM} is not installed`);
    const token = randomBytes(16).toString('hex');
    const record: Omit<DeviceRecord, 'networkNamespace'> = { backend: this.backend, bootId: await bootId(), token };
    // Before the process is there: a crash after its start still leaves it known as ours, by the token.
    await this.records.write(name, record);
    this.forget(name);
    const pid = await this.start(program, name, token);
    const startTime = await startTimeOf(pid);
    if (startTime !== null) {
      await this.records.write(name, { ...record, pid, startTime });
      this.owners.set(name, { process: { pid, startTime }, ours: true });
    }
    let dead = startTime === null;
    const ready = await settled(async () => {
      dead = (await startTimeOf(pid)) === null;
      return dead || ((await hasLink(name)) && (await exists(socketPath(name))) && (await this.answers(name)));
    });
    if (dead)
      throw new TunnelUnavailableError(`${PROGRAM} ended at its start: ${await lastWords(this.records.logPath(name))}`);
    if (!ready) throw new TunnelUnavailableError(`${PROGRAM} did not make ${name} in time`);
  }

  async destroy(name: string): Promise<void> {
    const owner = await this.ownerOf(name);
    if (owner !== null && owner.ours) await this.end(owner.process, await this.hangs(name));
    else await deleteLink(name);
    if (!(await settled(async () => !(await hasLink(name))))) {
      throw new TunnelUnavailableError(`The device ${name} does not go away`);
    }
    await this.clearAfter(name);
  }

  /** Takes away what a process that is gone left on the host. */
  async clearAfter(name: string): Promise<void> {
    this.forget(name);
    await removeStaleSocket(name);
    await this.records.remove(name);
  }

  async madeByUs(name: string): Promise<boolean> {
    return (await this.ownerOf(name))?.ours ?? false;
  }

  /** A process of ours that has not answered for ten seconds. */
  async hangs(name: string): Promise<boolean> {
    const since = this.silentSince.get(name);
    return since !== undefined && performance.now() - since >= HANGS_AFTER_MS && (await this.madeByUs(name));
  }

  async livesElsewhere(name: string): Promise<boolean> {
    const owner = await this.ownerOf(name);
    if (owner === null) return false;
    const theirs = await networkNamespaceOf(owner.process.pid);
    return theirs !== null && theirs !== (await networkNamespaceOf());
  }

  async epoch(name: string): Promise<number> {
    const owner = await this.ownerOf(name);
    if (owner !== null) return epochOf(await bootId(), owner.process.pid, owner.process.startTime);
    // A process that is not called wireguard-go: its link comes and goes with it.
    const link = await showLink(name);
    return epochOf(await bootId(), (await networkNamespaceOf()) ?? '', link?.index ?? 0);
  }

  async listensOn(name: string, port: number): Promise<boolean> {
    const inodes = await udpSockets(port);
    const owner = await this.ownerOf(name);
    if (owner === null) return inodes.size > 0;
    const folder = `/proc/${owner.process.pid}/fd`;
    for (const entry of await readdir(folder).catch(() => [])) {
      const target = await readlink(join(folder, entry)).catch(() => '');
      if (target.startsWith('socket:[') && inodes.has(target.slice(8, -1))) return true;
    }
    return false;
  }

  async identify(name: string): Promise<DeviceIdentity> {
    const { privateKeyHex, listenPort } = await this.watched(name, (client) => client.get(true));
    return { publicKey: publicKeyOfHex(privateKeyHex), listenPort };
  }

  async read(name: string): Promise<DeviceState> {
    await keepLogShort(this.records.logPath(name));
    const { privateKeyHex, listenPort, peers } = await this.watched(name, (client) => client.get());
    return { publicKey: publicKeyOfHex(privateKeyHex), listenPort, peers };
  }

  async configure(name: string, settings: { privateKey?: string; listenPort?: number }): Promise<void> {
    let lines = '';
    if (settings.privateKey !== undefined) lines += `private_key=${keyToHex(settings.privateKey)}\n`;
    if (settings.listenPort !== undefined) lines += `listen_port=${settings.listenPort}\n`;
    await this.watched(name, (client) => client.set(lines));
  }

  async change(name: string, changes: readonly PeerChange[]): Promise<void> {
    for (let at = 0; at < changes.length; at += CHANGES_PER_SET) {
      const lines = renderChanges(changes.slice(at, at + CHANGES_PER_SET));
      await this.watched(name, (client) => client.set(lines));
    }
  }

  /** Whether a process answers on the device's socket, in whatever namespace its link is. */
  async answers(name: string): Promise<boolean> {
    try {
      await this.identify(name);
      return true;
    } catch (error) {
      if (error instanceof UapiAbsentError) return false;
      throw error;
    }
  }

  private async watched<T>(name: string, work: (client: UapiClient) => Promise<T>): Promise<T> {
    const begun = performance.now();
    let client = this.clients.get(name);
    if (client === undefined) this.clients.set(name, (client = new UapiClient(name)));
    try {
      const result = await work(client);
      this.silentSince.delete(name);
      return result;
    } catch (error) {
      const silent = error instanceof UapiSilentError || error instanceof UapiAbsentError;
      if (!silent) this.silentSince.delete(name);
      else if (!this.silentSince.has(name)) this.silentSince.set(name, begun);
      throw error;
    }
  }

  private async start(program: string, name: string, token: string): Promise<number> {
    const environment = { LOG_LEVEL: 'error', WG_PROCESS_FOREGROUND: '1', [TOKEN_VARIABLE]: token };
    try {
      return await startDetached(program, ['-f', name], environment, this.records.logPath(name));
    } catch (error) {
      throw new TunnelUnavailableError(`${PROGRAM} could not be started: ${(error as Error).message}`);
    }
  }

  private async end(process: ProcessIdentity, hangs: boolean): Promise<void> {
    if (!(await endProcess(process, hangs))) {
      throw new TunnelUnavailableError(`The process ${process.pid} cannot be ended`);
    }
  }

  /** The process behind the device; null when it cannot be found. */
  private async ownerOf(name: string): Promise<Owner | null> {
    const known = this.owners.get(name);
    if (known !== undefined && (await isAlive(known.process))) return known;
    this.owners.delete(name);
    const found = (await this.recordedOwner(name)) ?? (await foreignOwner(name));
    if (found !== null) this.owners.set(name, found);
    return found;
  }

  private async recordedOwner(name: string): Promise<Owner | null> {
    const record = await this.records.read(name, await bootId());
    if (record === null || record.backend !== this.backend) return null;
    const { pid, startTime, token } = record;
    if (pid !== undefined && startTime !== undefined) {
      const process = { pid, startTime };
      return (await isAlive(process)) && drives(name, await commandLineOf(pid)) ? { process, ours: true } : null;
    }
    if (token === undefined) return null;
    for (const process of await findProcesses((commandLine) => drives(name, commandLine))) {
      if ((await environmentOf(process.pid, TOKEN_VARIABLE)) === token) return { process, ours: true };
    }
    return null;
  }

  private forget(name: string): void {
    this.clients.get(name)?.close();
    this.clients.delete(name);
    this.owners.delete(name);
    this.silentSince.delete(name);
  }
}

async function foreignOwner(name: string): Promise<Owner | null> {
  const own = await networkNamespaceOf();
  let elsewhere: Owner | null = null;
  for (const process of await findProcesses((commandLine) => drives(name, commandLine))) {
    if ((await networkNamespaceOf(process.pid)) === own) return { process, ours: false };
    elsewhere ??= { process, ours: false };
  }
  return elsewhere;
}

function drives(name: string, commandLine: string[]): boolean {
  return basename(commandLine[0] ?? '') === PROGRAM && commandLine.at(-1) === name;
}

/** A killed process leaves its socket behind; one that answers is another's. */
async function removeStaleSocket(name: string): Promise<void> {
  const probe = new UapiClient(name);
  try {
    await probe.get(true);
  } catch (error) {
    if (error instanceof UapiAbsentError) await rm(socketPath(name), { force: true });
  } finally {
    probe.close();
  }
}

function publicKeyOfHex(privateKeyHex: string | null): string | null {
  return privateKeyHex === null ? null : publicKeyOf(Buffer.from(privateKeyHex, 'hex').toString('base64'));
}
