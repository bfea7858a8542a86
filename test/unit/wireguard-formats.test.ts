import { describe, expect, it } from 'vitest';
import type { PeerChange } from '../../src/domain/tunnels/tunnel.port.js';
import { runsOf } from '../../src/drivers/wireguard/kernel.transport.js';
import { UapiAnswer, keyToHex, renderChanges } from '../../src/drivers/wireguard/uapi.format.js';
import { parseDump, renderPeers } from '../../src/drivers/wireguard/wg.format.js';

const key = (byte: number): string => Buffer.alloc(32, byte).toString('base64');
const hex = (byte: number): string => Buffer.alloc(32, byte).toString('hex');

const answerText = `private_key=${hex(1)}
listen_port=51820
fwmark=16
public_key=${hex(2)}
preshared_key=${hex(3)}
protocol_version=1
endpoint=[fe80::1%eth0]:51820
last_handshake_time_sec=1700000000
last_handshake_time_nsec=999999999
tx_bytes=9007199254740991
rx_bytes=42
persistent_keepalive_interval=25
allowed_ip=10.0.0.2/32
allowed_ip=fd00::2/128
public_key=${hex(0xfe)}
preshared_key=${hex(0)}
last_handshake_time_sec=0
tx_bytes=0
rx_bytes=0
errno=0

`;

const expectedPeers = [
  {
    publicKey: key(2),
    presharedKey: key(3),
    allowedIps: ['10.0.0.2/32', 'fd00::2/128'],
    rxBytes: 42,
    txBytes: 9_007_199_254_740_991,
    latestHandshake: 1_700_000_000,
  },
  { publicKey: key(0xfe), presharedKey: null, allowedIps: [], rxBytes: 0, txBytes: 0, latestHandshake: 0 },
];

describe('an answer of wireguard-go', () => {
  it('is read the same however it is cut into pieces', () => {
    for (const size of [1, 2, 7, 64, 10_000]) {
      const answer = new UapiAnswer();
      for (let at = 0; at < answerText.length; at += size) answer.push(Buffer.from(answerText.slice(at, at + size)));
      expect(answer).toMatchObject({ privateKeyHex: hex(1), listenPort: 51_820, errno: 0, overrun: false });
      expect(answer.peers).toEqual(expectedPeers);
    }
  });

  it('has come to its end only with the blank line, and carries its number', () => {
    const answer = new UapiAnswer();
    answer.push(Buffer.from('errno=-98\n'));
    expect(answer.errno).toBeNull();
    answer.push(Buffer.from('\n'));
    expect(answer.errno).toBe(-98);
    answer.push(Buffer.from('errno=0\n'));
    expect(answer.overrun).toBe(true);
  });

  it('of a device without a key and a port has neither', () => {
    const answer = new UapiAnswer();
    answer.push(Buffer.from(`private_key=${hex(0)}\nerrno=0\n\n`));
    expect(answer).toMatchObject({ privateKeyHex: null, listenPort: 0, headEnded: false, peers: [] });
  });
});

describe('changes for wireguard-go', () => {
  it('keep their order; blocking makes no peer and an empty preshared key clears one', () => {
    expect(
      renderChanges([
        { action: 'remove', publicKey: key(1) },
        { action: 'block', publicKey: key(2) },
        { action: 'set', peer: { publicKey: key(3), presharedKey: key(4), allowedIps: ['10.0.0.2/32'] } },
        { action: 'set', peer: { publicKey: key(5), presharedKey: '', allowedIps: [] } },
      ]),
    ).toBe(
      `public_key=${hex(1)}\nremove=true\n` +
        `public_key=${hex(2)}\nupdate_only=true\nreplace_allowed_ips=true\n` +
        `public_key=${hex(3)}\npreshared_key=${hex(4)}\nreplace_allowed_ips=true\nallowed_ip=10.0.0.2/32\n` +
        `public_key=${hex(5)}\npreshared_key=${hex(0)}\nreplace_allowed_ips=true\n`,
    );
    expect(keyToHex(key(0xab))).toBe('ab'.repeat(32));
  });
});

describe('what wg prints and takes', () => {
  it('is read with its words for nothing', () => {
    const dump =
      `${key(1)}\t${key(9)}\t51820\toff\n` +
      `${key(2)}\t${key(3)}\t[fe80::1%eth0]:51820\t10.0.0.2/32,fd00::2/128\t1700000000\t42\t9007199254740991\t25\n` +
      `${key(0xfe)}\t(none)\t(none)\t(none)\t0\t0\t0\toff\n`;
    expect(parseDump(dump)).toEqual({ publicKey: key(9), listenPort: 51_820, peers: expectedPeers });
    expect(parseDump('(none)\t(none)\t0\toff\n')).toEqual({ publicKey: null, listenPort: 0, peers: [] });
  });

  it('is written with a preshared key for each peer', () => {
    expect(
      renderPeers([
        { publicKey: key(3), presharedKey: key(4), allowedIps: ['10.0.0.2/32', 'fd00::2/128'] },
        { publicKey: key(5), presharedKey: '', allowedIps: [] },
      ]),
    ).toBe(
      `[Peer]\nPublicKey = ${key(3)}\nPresharedKey = ${key(4)}\nAllowedIPs = 10.0.0.2/32, fd00::2/128\n` +
        `[Peer]\nPublicKey = ${key(5)}\nPresharedKey = ${key(0)}\nAllowedIPs = \n`,
    );
  });

  it('goes in runs that keep the order and stay short', () => {
    const set = (byte: number): PeerChange => ({
      action: 'set',
      peer: { publicKey: key(byte), presharedKey: '', allowedIps: [] },
    });
    const remove = (byte: number): PeerChange => ({ action: 'remove', publicKey: key(byte) });
    const block = (byte: number): PeerChange => ({ action: 'block', publicKey: key(byte) });
    const changes = [remove(1), block(2), set(3), set(4), remove(5)];
    expect(runsOf(changes)).toEqual([changes.slice(0, 2), changes.slice(2, 4), changes.slice(4)]);
    expect(runsOf(Array.from({ length: 1001 }, () => set(1))).map((run) => run.length)).toEqual([500, 500, 1]);
    expect(runsOf([])).toEqual([]);
  });
});
