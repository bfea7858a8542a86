import type { PeerChange, PeerReading } from '../../domain/tunnels/tunnel.port.js';

/** Who a device says it is. */
export interface DeviceIdentity {
  /** Null while no private key is set. */
  publicKey: string | null;
  /** 0 while no socket is open. */
  listenPort: number;
}

/** All that one transport knows of a device. */
export interface DeviceState extends DeviceIdentity {
  peers: PeerReading[];
}

/**
 * One way to make WireGuard devices and to speak to them. Names and values are valid when they come here. Every call
 * ends in time; those that speak to a device throw TunnelUnavailableError or TunnelRefusedError.
 */
export interface WireguardTransport {
  readonly backend: 'kernel' | 'wireguard-go';

  /** Makes the device, without key and peers. What is left of a failed attempt is ours by `madeByUs`. */
  create(name: string): Promise<void>;

  /** Takes away the device, which is known to be ours, also when it hangs, and all that `create` left on the host. */
  destroy(name: string): Promise<void>;

  /** The device that is there now was made by `create` of this installation. */
  madeByUs(name: string): Promise<boolean>;

  /** The device is ours and has not answered for so long that only making it anew helps. */
  hangs(name: string): Promise<boolean>;

  /** The device lives in another network namespace than we do. */
  livesElsewhere(name: string): Promise<boolean>;

  /** A safe integer that changes when the device was made anew. */
  epoch(name: string): Promise<number>;

  /** Whether the device itself, and no other socket of this host, listens on the UDP port. */
  listensOn(name: string, port: number): Promise<boolean>;

  identify(name: string): Promise<DeviceIdentity>;

  read(name: string): Promise<DeviceState>;

  /** Sets the private key, the port, or both; the rest stays. */
  configure(name: string, settings: { privateKey?: string; listenPort?: number }): Promise<void>;

  /** Makes the changes in their order. */
  change(name: string, changes: readonly PeerChange[]): Promise<void>;
}
