/** One peer as it should be on a device. Keys are base64, allowed IPs are CIDRs. */
export interface PeerSpec {
  publicKey: string;
  presharedKey: string;
  allowedIps: string[];
}

/** What to do to one peer. `block` clears its allowed IPs: traffic stops at once, counters stay readable. */
export type PeerChange =
  { action: 'set'; peer: PeerSpec } | { action: 'block'; publicKey: string } | { action: 'remove'; publicKey: string };

/** One peer as the device shows it. Byte counts are the server's: rx came from the client, tx went to it. */
export interface PeerReading {
  publicKey: string;
  presharedKey: string | null;
  allowedIps: string[];
  rxBytes: number;
  txBytes: number;
  /** Unix seconds, 0 when there never was a handshake. */
  latestHandshake: number;
}

/** One device as it should be. Addresses are the server's own, as `address/prefix`, IPv4 first. */
export interface DeviceSpec {
  name: string;
  privateKey: string;
  listenPort: number;
  addresses: string[];
  mtu: number;
}

/** One device as it is. */
export interface DeviceReading {
  name: string;
  publicKey: string;
  listenPort: number;
  /** Changes whenever the device was made anew and its counters began again at zero. A safe integer. */
  epoch: number;
  peers: PeerReading[];
}

/** What packets of a device's clients may do on this host. Ranges are CIDRs of the device's clients. */
export interface FirewallSpec {
  device: string;
  ranges: string[];
  listenPort: number;
  /** Clients of a device may reach each other. */
  allowPeers: boolean;
  /** Clients may reach this host on the device's own address. */
  allowHost: boolean;
  /** Clients may reach the private networks behind this host. */
  allowLan: boolean;
}

/** Whether this host can have tunnels now, and what to do when it cannot. */
export interface TunnelCapability {
  backend: 'kernel' | 'wireguard-go' | null;
  /** One sentence for an operator: what is there, or what is missing. */
  message: string;
  /** The line that mends it, when something is missing. */
  hint: string | null;
}

/** A device of the wanted name exists and is not ours: its key is unknown to us or its link is in another namespace. */
export class ForeignDeviceError extends Error {
  constructor(readonly device: string) {
    super(`The device ${device} exists and was not made by this server`);
  }
}

/** The device refused a change for a reason that will not pass by itself (port in use, bad key). */
export class TunnelRefusedError extends Error {}

/** The device or its process does not answer, is gone, or could not be made. Trying again later makes sense. */
export class TunnelUnavailableError extends Error {}

/**
 * All that tunnel technology does for us. One caller at a time per device: the engine's owner. Every call ends within
 * its own time limit (seconds) with a result or one of the three errors above.
 */
export abstract class TunnelPort {
  /** Tries what this host can do. Cheap enough to be asked again every few seconds while nothing is there. */
  abstract capability(): Promise<TunnelCapability>;

  /**
   * Makes the device exist, up, with this key, port, addresses and MTU; one that is ours already is adopted and only
   * differences are changed (peers, sessions and counters stay). Addresses that it should not have are taken away.
   * Throws ForeignDeviceError, TunnelRefusedError (port in use) or TunnelUnavailableError.
   */
  abstract ensureDevice(spec: DeviceSpec): Promise<void>;

  /** Takes a device of ours away with all it had on the host. Absent is success. `publicKey` proves it is ours. */
  abstract removeDevice(name: string, publicKey: string): Promise<void>;

  /** Reads device and peers in one go; null when there is no such device (or it is not in our network namespace). */
  abstract readDevice(name: string): Promise<DeviceReading | null>;

  /** Makes these changes, in order, in few calls. Idempotent. All values are validated before anything is sent. */
  abstract changePeers(name: string, changes: PeerChange[]): Promise<void>;

  /** Makes forwarding, NAT and filtering of our devices be exactly this, in one atomic step; [] takes all of it away. */
  abstract ensureFirewall(devices: FirewallSpec[]): Promise<void>;
}
