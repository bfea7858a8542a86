import { Injectable, Logger } from '@nestjs/common';
import {
  type DeviceReading,
  type DeviceSpec,
  type FirewallSpec,
  ForeignDeviceError,
  type PeerChange,
  type TunnelCapability,
  TunnelPort,
  TunnelRefusedError,
  TunnelUnavailableError,
} from '../../domain/tunnels/tunnel.port.js';
import { Config } from '../../platform/config/config.js';
import { publicKeyOf } from '../../platform/crypto/x25519.js';
import { settled } from '../host/process.control.js';
import { DeviceRecords } from './device.state.js';
import { probeHost } from './host.capability.js';
import { HostFirewall } from './host.firewall.js';
import { KernelTransport } from './kernel.transport.js';
import { type NetworkLink, ensureAddresses, hasLink, setLinkUp, setMtu, showLink, udpSockets } from './network.link.js';
import { assertDevice, assertLinkName, canonicalCidr, checkedChanges, isPort } from './peer.rules.js';
import { UapiAbsentError } from './uapi.client.js';
import { UserspaceTransport } from './userspace.transport.js';
import type { DeviceIdentity, WireguardTransport } from './wireguard.transport.js';

const PORT_OPENS_MS = 3_000;

interface AdoptedDevice {
  transport: WireguardTransport;
  identity: DeviceIdentity;
}

/** WireGuard devices of this host, in the kernel or as wireguard-go, and the packet rules around them. */
@Injectable()
export class WireguardDriver extends TunnelPort {
  private readonly logger = new Logger('WireguardDriver');
  private readonly userspace: UserspaceTransport;
  private readonly kernel: KernelTransport;
  private readonly firewall: HostFirewall;
  /** Public keys of devices that were found to be ours, to refuse a peer with the key of its device. */
  private readonly ownKeys = new Map<string, string>();
  /** The last work on each name; the next begins after it. */
  private readonly turns = new Map<string, Promise<unknown>>();
  private present: TunnelCapability | null = null;

  constructor(private readonly config: Config) {
    super();
    const records = new DeviceRecords(config.dataDir);
    this.userspace = new UserspaceTransport(records);
    this.kernel = new KernelTransport(records);
    this.firewall = new HostFirewall(config.dataDir);
  }

  /** What was once found to work is not tried again. A lack of packet rules shows in message and hint. */
  async capability(): Promise<TunnelCapability> {
    const found = this.present ?? (await probeHost(this.config.wireguard));
    if (found.backend !== null) this.present = found;
    const { lack } = this.firewall;
    if (found.backend === null || lack === null) return found;
    return { backend: found.backend, message: `${found.message}. ${lack.message}`, hint: lack.hint };
  }

  async ensureDevice(spec: DeviceSpec): Promise<void> {
    assertDevice(spec);
    const capability = await this.capability();
    if (capability.backend === null) {
      throw new TunnelUnavailableError(
        capability.hint === null ? capability.message : `${capability.message}: ${capability.hint}`,
      );
    }
    const backend = capability.backend === 'kernel' ? this.kernel : this.userspace;
    await this.inTurn(spec.name, async () => {
      const publicKey = publicKeyOf(spec.privateKey);
      const adopted = await this.adopt(spec.name, publicKey);
      if (adopted !== null) {
        await this.configure(adopted.transport, spec, adopted.identity);
      } else {
        await this.make(backend, spec);
      }
      this.ownKeys.set(spec.name, publicKey);
    });
  }

  async removeDevice(name: string, publicKey: string): Promise<void> {
    assertLinkName(name);
    this.assertOn();
    await this.inTurn(name, async () => {
      const link = await showLink(name);
      if (link === null) {
        // Its process may have lost the link; one in another namespace has no record that counts here.
        if (await this.userspace.madeByUs(name)) await this.userspace.destroy(name);
        else await this.userspace.clearAfter(name);
      } else {
        const transport = this.transportOf(name, link);
        if (!(await this.provesOurs(transport, name, publicKey))) throw new ForeignDeviceError(name);
        await transport.destroy(name);
      }
      this.ownKeys.delete(name);
    });
  }

  async readDevice(name: string): Promise<DeviceReading | null> {
    assertLinkName(name);
    if (this.config.wireguard === 'off' || !(await hasLink(name))) return null;
    let transport: WireguardTransport = this.userspace;
    try {
      if (this.present?.backend === 'kernel') transport = (await this.findTransport(name)) ?? this.userspace;
      return await this.readBy(transport, name);
    } catch (error) {
      if (!(error instanceof UapiAbsentError)) throw error;
      const found = await this.findTransport(name);
      if (found === null) return null;
      if (found === transport) throw error;
      return this.readBy(found, name);
    }
  }

  async changePeers(name: string, changes: PeerChange[]): Promise<void> {
    assertLinkName(name);
    this.assertOn();
    const checked = checkedChanges(changes, this.ownKeys.get(name) ?? null);
    if (checked.length === 0) return;
    await this.inTurn(name, async () => {
      // A socket alone may be of a device in another network namespace.
      if (!(await hasLink(name))) throw new TunnelUnavailableError(`The device ${name} is not there`);
      if (this.present?.backend !== 'kernel') {
        try {
          return await this.userspace.change(name, checked);
        } catch (error) {
          if (!(error instanceof UapiAbsentError)) throw error;
        }
      }
      const transport = await this.findTransport(name);
      if (transport === null) throw new TunnelUnavailableError(`The device ${name} is not there`);
      await transport.change(name, checked);
    });
  }

  async ensureFirewall(devices: FirewallSpec[]): Promise<void> {
    for (const spec of devices) {
      assertLinkName(spec.device);
      spec.ranges.forEach(canonicalCidr);
      if (!isPort(spec.listenPort)) throw new TunnelRefusedError(`The port of ${spec.device} is not valid`);
    }
    // No device has this name: it is too long.
    await this.inTurn('the packet rules of the host', () =>
      this.firewall.apply(this.config.wireguardNat ? devices : []),
    );
  }

  /**
   * The device that is there and ours; null when none is there. One of ours with another key, or that
   * hangs, is taken away first: it then is not there. Throws ForeignDeviceError and TunnelUnavailableError.
   */
  private async adopt(name: string, publicKey: string): Promise<AdoptedDevice | null> {
    const link = await showLink(name);
    if (link === null) {
      if (await this.userspace.madeByUs(name)) {
        this.logger.warn(`The process of ${name} has lost its link and is made anew`);
        await this.userspace.destroy(name);
        return null;
      }
      // The socket folder belongs to the mount namespace: what answers there is a device somewhere else.
      if (await this.userspace.answers(name)) throw new ForeignDeviceError(name);
      return null;
    }
    const transport = this.transportOf(name, link);
    if (await transport.livesElsewhere(name)) throw new ForeignDeviceError(name);
    let identity: DeviceIdentity;
    try {
      identity = await transport.identify(name);
    } catch (error) {
      if (await transport.hangs(name)) {
        this.logger.error(`The process of ${name} has not answered for long; it is killed and the device made anew`);
        await transport.destroy(name);
        return null;
      }
      if (error instanceof UapiAbsentError && !(await transport.madeByUs(name))) throw new ForeignDeviceError(name);
      throw error;
    }
    if (identity.publicKey === publicKey) return { transport, identity };
    if (!(await transport.madeByUs(name))) throw new ForeignDeviceError(name);
    if (identity.publicKey === null) return { transport, identity };
    this.logger.warn(`${name} was made here with another key and is made anew`);
    await transport.destroy(name);
    return null;
  }

  private async make(transport: WireguardTransport, spec: DeviceSpec): Promise<void> {
    this.logger.log(`Making the device ${spec.name} (${transport.backend})`);
    try {
      await transport.create(spec.name);
      await this.configure(transport, spec, null);
    } catch (error) {
      // Half a device serves nobody; what cannot be taken away now is found as ours the next time.
      if (await transport.madeByUs(spec.name).catch(() => false)) {
        await transport.destroy(spec.name).catch(() => {});
      }
      throw error;
    }
  }

  /** Changes only what differs. Traffic of peers goes on meanwhile, except while the port changes. */
  private async configure(
    transport: WireguardTransport,
    spec: DeviceSpec,
    present: DeviceIdentity | null,
  ): Promise<void> {
    const { name } = spec;
    const link = await this.linkOf(name);
    if (link.mtu !== spec.mtu) await setMtu(name, spec.mtu);
    if (!link.up) await setLinkUp(name, true);
    await this.configurePort(transport, spec, link.up && present?.listenPort !== 0 ? present : null);
    await ensureAddresses(name, spec.addresses, this.logger);
  }

  /** The link is up: a port that is taken shows at once, and not when somebody brings the link up later. */
  private async configurePort(
    transport: WireguardTransport,
    spec: DeviceSpec,
    present: DeviceIdentity | null,
  ): Promise<void> {
    const { name, privateKey, listenPort } = spec;
    let before = present ?? (await this.whenOpen(transport, name));
    if (before === null) {
      // wireguard-go that failed to open its port once does not try again until its link went down and up.
      await this.bounce(name);
      before = await this.whenOpen(transport, name);
    }
    if (before === null) throw new TunnelUnavailableError(`The device ${name} opens no port`);
    const settings: { privateKey?: string; listenPort?: number } = {};
    if (before.publicKey === null) settings.privateKey = privateKey;
    if (before.listenPort !== listenPort) settings.listenPort = listenPort;
    if (Object.keys(settings).length > 0) {
      try {
        await transport.configure(name, settings);
      } catch (error) {
        if (!(error instanceof TunnelRefusedError) || settings.listenPort === undefined) throw error;
        // The old port is closed by now; peers of an adopted device go on only when it is opened again.
        await transport.configure(name, { listenPort: before.listenPort }).catch(() => {});
        throw portInUse(name, listenPort, error);
      }
    }
    const opens = (): Promise<boolean> => settled(() => transport.listensOn(name, listenPort), PORT_OPENS_MS);
    if (await opens()) return;
    await this.bounce(name);
    if (await opens()) return;
    if ((await udpSockets(listenPort)).size > 0) throw portInUse(name, listenPort);
    throw new TunnelUnavailableError(`The device ${name} does not open the port ${listenPort}`);
  }

  private async whenOpen(transport: WireguardTransport, name: string): Promise<DeviceIdentity | null> {
    let identity: DeviceIdentity | null = null;
    const open = await settled(async () => {
      identity = await transport.identify(name);
      return identity.listenPort !== 0;
    }, PORT_OPENS_MS);
    return open ? identity : null;
  }

  private async bounce(name: string): Promise<void> {
    await setLinkUp(name, false);
    await setLinkUp(name, true);
  }

  private async provesOurs(transport: WireguardTransport, name: string, publicKey: string): Promise<boolean> {
    if (await transport.livesElsewhere(name)) return false;
    try {
      const identity = await transport.identify(name);
      if (identity.publicKey !== null) return identity.publicKey === publicKey;
    } catch (error) {
      // One that we made may go although it cannot be asked any more.
      if (!(await transport.madeByUs(name)))
        throw error instanceof UapiAbsentError ? new ForeignDeviceError(name) : error;
      return true;
    }
    return transport.madeByUs(name);
  }

  private async readBy(transport: WireguardTransport, name: string): Promise<DeviceReading | null> {
    for (let attempt = 1; ; attempt += 1) {
      const epoch = await transport.epoch(name);
      const { publicKey, listenPort, peers } = await transport.read(name);
      if (await transport.livesElsewhere(name)) return null;
      // Counters under the epoch of another device would be booked twice.
      if (epoch === (await transport.epoch(name))) {
        return { name, publicKey: publicKey ?? '', listenPort, epoch, peers };
      }
      if (attempt === 3) throw new TunnelUnavailableError(`The device ${name} is made anew again and again`);
    }
  }

  private async findTransport(name: string): Promise<WireguardTransport | null> {
    const link = await showLink(name);
    if (link === null) return null;
    return link.kind === 'wireguard' ? this.kernel : link.kind === 'tun' ? this.userspace : null;
  }

  private transportOf(name: string, link: NetworkLink): WireguardTransport {
    if (link.kind === 'wireguard') return this.kernel;
    if (link.kind === 'tun') return this.userspace;
    throw new ForeignDeviceError(name);
  }

  private async linkOf(name: string): Promise<NetworkLink> {
    const link = await showLink(name);
    if (link === null) throw new TunnelUnavailableError(`The device ${name} went away`);
    return link;
  }

  private assertOn(): void {
    if (this.config.wireguard === 'off') {
      throw new TunnelUnavailableError('WireGuard is switched off by the setting WIREGUARD=off');
    }
  }

  /** Two callers at once for one name wait for each other. */
  private async inTurn<T>(name: string, work: () => Promise<T>): Promise<T> {
    const turn = (this.turns.get(name) ?? Promise.resolve()).then(work, work);
    this.turns.set(name, turn);
    try {
      return await turn;
    } catch (error) {
      throw ofSystem(error);
    } finally {
      if (this.turns.get(name) === turn) this.turns.delete(name);
    }
  }
}

/** A file or a program that the system would not let us use is for the port's callers a device that is unavailable. */
function ofSystem(error: unknown): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (typeof code !== 'string' || !(error instanceof Error)) return error;
  const message =
    code === 'ENOSPC' || code === 'EDQUOT'
      ? 'The disk that holds DATA_DIR is full: free some space'
      : `The system refused what the device needs: ${error.message}`;
  return new TunnelUnavailableError(message, { cause: error });
}

function portInUse(name: string, port: number, cause?: unknown): TunnelRefusedError {
  return new TunnelRefusedError(`${name} cannot have the port ${port}: it is in use`, { cause });
}
