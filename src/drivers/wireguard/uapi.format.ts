import type { PeerChange, PeerReading } from '../../domain/tunnels/tunnel.port.js';

/** The text protocol of wireguard-go: https://www.wireguard.com/xplatform/#configuration-protocol */
const NEWLINE = 10;
const EQUALS = 61;
const ZERO = 48;
const KEY_BYTES = 32;
const HEX_KEY_LENGTH = 64;
const ZERO_KEY = '0'.repeat(HEX_KEY_LENGTH);
const HEX_VALUE = hexTable();

export function keyToHex(key: string): string {
  return Buffer.from(key, 'base64').toString('hex');
}

/** The lines of a `set` for these changes, without its first and last line. An empty preshared key clears it. */
export function renderChanges(changes: readonly PeerChange[]): string {
  let text = '';
  for (const change of changes) {
    if (change.action === 'remove') {
      text += `public_key=${keyToHex(change.publicKey)}\nremove=true\n`;
    } else if (change.action === 'block') {
      text += `public_key=${keyToHex(change.publicKey)}\nupdate_only=true\nreplace_allowed_ips=true\n`;
    } else {
      const { publicKey, presharedKey, allowedIps } = change.peer;
      const psk = presharedKey === '' ? ZERO_KEY : keyToHex(presharedKey);
      text += `public_key=${keyToHex(publicKey)}\npreshared_key=${psk}\nreplace_allowed_ips=true\n`;
      for (const cidr of allowedIps) text += `allowed_ip=${cidr}\n`;
    }
  }
  return text;
}

/**
 * Reads the answer to `get` or `set` as it arrives. An answer of 10,000 peers has 90,000 lines in 3.4 MB, so lines are
 * looked at as bytes: strings are made for values that are kept, and for nothing else.
 */
export class UapiAnswer {
  /** The device's private key in hex; null while it has none. Kept only until the public half is known. */
  privateKeyHex: string | null = null;
  listenPort = 0;
  readonly peers: PeerReading[] = [];
  /** Null until the answer has come to its end. */
  errno: number | null = null;
  /** Something came after the end: the two sides do not agree where an answer ends. */
  overrun = false;
  /** The lines of the device itself are over. */
  headEnded = false;

  private rest: Buffer | null = null;
  private peer: PeerReading | null = null;
  private pendingErrno: number | null = null;
  private readonly key = Buffer.alloc(KEY_BYTES);

  push(chunk: Buffer): void {
    const bytes = this.rest === null ? chunk : Buffer.concat([this.rest, chunk]);
    let start = 0;
    for (;;) {
      const end = bytes.indexOf(NEWLINE, start);
      if (end < 0) break;
      this.line(bytes, start, end);
      start = end + 1;
    }
    this.rest = start === bytes.length ? null : bytes.subarray(start);
  }

  private line(bytes: Buffer, start: number, end: number): void {
    if (this.errno !== null) {
      this.overrun = true;
      return;
    }
    if (start === end) {
      this.errno = this.pendingErrno;
      return;
    }
    let equals = start;
    while (equals < end && bytes[equals] !== EQUALS) equals += 1;
    const value = equals + 1;
    const nameLength = equals - start;
    // The first bytes tell the few names apart; names that this server does not need are left.
    switch (bytes[start]) {
      case 112: // p
        if (nameLength === 10 && bytes[start + 1] === 117) {
          this.beginPeer(this.readKey(bytes, value, end) ?? '');
        } else if (nameLength === 13 && this.peer !== null) {
          this.peer.presharedKey = this.readKey(bytes, value, end);
        } else if (nameLength === 11) {
          const hex = bytes.toString('latin1', value, end);
          this.privateKeyHex = hex === ZERO_KEY ? null : hex;
        }
        break;
      case 97: // allowed_ip
        if (nameLength === 10) this.peer?.allowedIps.push(bytes.toString('latin1', value, end));
        break;
      case 114: // rx_bytes
        if (nameLength === 8 && this.peer !== null) this.peer.rxBytes = readNumber(bytes, value, end);
        break;
      case 116: // tx_bytes
        if (nameLength === 8 && this.peer !== null) this.peer.txBytes = readNumber(bytes, value, end);
        break;
      case 108: // last_handshake_time_sec, listen_port
        if (nameLength === 23 && this.peer !== null) this.peer.latestHandshake = readNumber(bytes, value, end);
        else if (nameLength === 11) this.listenPort = readNumber(bytes, value, end);
        break;
      case 101: // errno, endpoint
        if (nameLength === 5) this.pendingErrno = Number(bytes.toString('latin1', value, end));
        break;
      default:
        break;
    }
  }

  private beginPeer(publicKey: string): void {
    this.headEnded = true;
    this.peer = { publicKey, presharedKey: null, allowedIps: [], rxBytes: 0, txBytes: 0, latestHandshake: 0 };
    this.peers.push(this.peer);
  }

  /** A hex key as base64; null when it is all zeros, which stands for none. */
  private readKey(bytes: Buffer, start: number, end: number): string | null {
    if (end - start !== HEX_KEY_LENGTH) return null;
    let any = 0;
    for (let at = start, to = 0; to < KEY_BYTES; at += 2, to += 1) {
      const byte = (HEX_VALUE[bytes[at]!]! << 4) | HEX_VALUE[bytes[at + 1]!]!;
      this.key[to] = byte;
      any |= byte;
    }
    return any === 0 ? null : this.key.toString('base64');
  }
}

function readNumber(bytes: Buffer, start: number, end: number): number {
  let value = 0;
  for (let at = start; at < end; at += 1) value = value * 10 + (bytes[at]! - ZERO);
  return value;
}

function hexTable(): Uint8Array {
  const table = new Uint8Array(256);
  for (const [value, digit] of [...'0123456789abcdef'].entries()) {
    table[digit.charCodeAt(0)] = value;
    table[digit.toUpperCase().charCodeAt(0)] = value;
  }
  return table;
}
