import { isIPv4, isIPv6 } from 'node:net';
import ipaddr from 'ipaddr.js';
import { type DeviceSpec, type PeerChange, TunnelRefusedError } from '../../domain/tunnels/tunnel.port.js';
import { isWireguardKey } from '../../platform/crypto/x25519.js';

/** Linux takes 15 bytes; a leading dash would be read as an option, and `.` and `..` are no names. */
const LINK_NAME = /^(?!\.{1,2}$)[a-zA-Z0-9_=+.][a-zA-Z0-9_=+.-]{0,14}$/;
const PLAIN_HOST = /^(\d{1,3}\.){3}\d{1,3}\/32$/;
const PREFIX = /^(0|[1-9]\d{0,2})$/;

/** Throws TunnelRefusedError unless the name is fit for a network link, a file name and an argument. */
export function assertLinkName(name: string): void {
  if (!LINK_NAME.test(name)) throw new TunnelRefusedError('The device name is not valid');
}

/**
 * The CIDR as WireGuard shows it: host bits cleared, IPv6 in its short form. A device clears host bits by itself, so
 * what was sent and what is read back would differ for ever otherwise. Throws TunnelRefusedError.
 */
export function canonicalCidr(text: string): string {
  if (PLAIN_HOST.test(text) && isIPv4(text.slice(0, -3))) return text;
  const { address, prefix } = splitCidr(text);
  const cidr = `${address}/${prefix}`;
  const network = isIPv4(address) ? ipaddr.IPv4.networkAddressFromCIDR(cidr) : ipaddr.IPv6.networkAddressFromCIDR(cidr);
  return `${network.toString()}/${prefix}`;
}

/** An address of a device, `address/prefix`, in its short form and with its host bits. Throws TunnelRefusedError. */
export function canonicalAddress(text: string): string {
  const { address, prefix } = splitCidr(text);
  return `${ipaddr.parse(address).toString()}/${prefix}`;
}

export function isIpv6Cidr(cidr: string): boolean {
  return cidr.includes(':');
}

/** Throws TunnelRefusedError when a value of the device could not be applied. */
export function assertDevice(spec: DeviceSpec): void {
  assertLinkName(spec.name);
  if (!isWireguardKey(spec.privateKey)) throw new TunnelRefusedError(`The private key of ${spec.name} is not valid`);
  if (!isPort(spec.listenPort)) throw new TunnelRefusedError(`The port of ${spec.name} is not valid`);
  if (!Number.isInteger(spec.mtu) || spec.mtu < 576 || spec.mtu > 65_535) {
    throw new TunnelRefusedError(`The MTU of ${spec.name} is not valid`);
  }
  if (spec.mtu < 1280 && spec.addresses.some(isIpv6Cidr)) {
    throw new TunnelRefusedError(`The MTU of ${spec.name} must be 1280 or more for IPv6`);
  }
  spec.addresses.forEach(canonicalAddress);
}

export function isPort(value: number): boolean {
  return Number.isInteger(value) && value > 0 && value <= 65_535;
}

/**
 * The same changes with canonical allowed IPs. A device moves an allowed IP to the last peer that claims it without a
 * word, so two peers of one call that hold the same one at the same time are refused. Throws TunnelRefusedError.
 */
export function checkedChanges(changes: readonly PeerChange[], ownPublicKey: string | null): PeerChange[] {
  const holders = new Map<string, string>();
  const held = new Map<string, string[]>();
  const release = (publicKey: string): void => {
    const cidrs = held.get(publicKey);
    if (!cidrs) return;
    for (const cidr of cidrs) if (holders.get(cidr) === publicKey) holders.delete(cidr);
    held.delete(publicKey);
  };
  return changes.map((change) => {
    if (change.action !== 'set') {
      assertPublicKey(change.publicKey);
      release(change.publicKey);
      return change;
    }
    const { publicKey, presharedKey } = change.peer;
    assertPublicKey(publicKey);
    if (publicKey === ownPublicKey) throw new TunnelRefusedError('A peer has the public key of the device itself');
    if (presharedKey !== '' && !isWireguardKey(presharedKey)) {
      throw new TunnelRefusedError(`The preshared key of peer ${publicKey} is not valid`);
    }
    const allowedIps = change.peer.allowedIps.map(canonicalCidr);
    release(publicKey);
    for (const cidr of allowedIps) {
      const holder = holders.get(cidr);
      if (holder !== undefined && holder !== publicKey) {
        throw new TunnelRefusedError(`Two peers claim ${cidr}: ${holder} and ${publicKey}`);
      }
      holders.set(cidr, publicKey);
    }
    held.set(publicKey, allowedIps);
    return { action: 'set', peer: { publicKey, presharedKey, allowedIps } };
  });
}

function assertPublicKey(publicKey: string): void {
  if (!isWireguardKey(publicKey)) throw new TunnelRefusedError('The public key of a peer is not valid');
}

function splitCidr(text: string): { address: string; prefix: number } {
  const slash = text.indexOf('/');
  const address = text.slice(0, slash);
  const bits = text.slice(slash + 1);
  const prefix = PREFIX.test(bits) ? Number(bits) : -1;
  const fits =
    slash > 0 &&
    prefix >= 0 &&
    ((isIPv4(address) && prefix <= 32) || (isIPv6(address) && !address.includes('%') && prefix <= 128));
  // The value is a caller's: it is not repeated, so that no line break of it reaches a log.
  if (!fits) throw new TunnelRefusedError('An address range is not valid');
  return { address, prefix };
}
