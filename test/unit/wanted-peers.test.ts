import { describe, expect, it } from 'vitest';
import type { PeerReading } from '../../src/domain/tunnels/tunnel.port.js';
import { WantedPeers, type WantedPeer } from '../../src/domain/tunnels/wanted-peers.js';

const wanted = (name: string, more: Partial<WantedPeer> = {}): WantedPeer => ({
  clientId: `id-${name}`,
  publicKey: `key-${name}`,
  presharedKey: `psk-${name}`,
  allowedIps: [`10.0.0.${name.length}/32`],
  active: true,
  ...more,
});

const real = (name: string, more: Partial<PeerReading> = {}): PeerReading => ({
  publicKey: `key-${name}`,
  presharedKey: `psk-${name}`,
  allowedIps: [`10.0.0.${name.length}/32`],
  rxBytes: 0,
  txBytes: 0,
  latestHandshake: 0,
  ...more,
});

function peersOf(...list: WantedPeer[]): WantedPeers {
  const peers = new WantedPeers();
  for (const peer of list) peers.put(peer);
  return peers;
}

describe('the drift between wanted and real peers', () => {
  it('is nothing when they match, in any order', () => {
    const peers = peersOf(wanted('a'), wanted('bb'));
    expect(peers.drift([real('bb'), real('a')])).toEqual({ changes: [], leaving: [], missing: [] });
  });

  it('adds what is missing and names it, so that its counters begin at zero', () => {
    const drift = peersOf(wanted('a'), wanted('bb')).drift([real('a')]);
    expect(drift.changes).toMatchObject([{ action: 'set', peer: { publicKey: 'key-bb' } }]);
    expect(drift.missing).toEqual(['id-bb']);
  });

  it('removes what nobody knows before it adds, so that addresses are free to move', () => {
    const drift = peersOf(wanted('a')).drift([real('stranger')]);
    expect(drift.changes.map((change) => change.action)).toEqual(['remove', 'set']);
  });

  it.each([
    ['another preshared key', { presharedKey: 'changed' }],
    ['no preshared key', { presharedKey: null }],
    ['lost addresses', { allowedIps: [] }],
    ['added addresses', { allowedIps: ['10.0.0.1/32', '0.0.0.0/0'] }],
  ])('mends a peer with %s', (_what, change) => {
    const drift = peersOf(wanted('a')).drift([real('a', change)]);
    expect(drift.changes).toMatchObject([{ action: 'set' }]);
    expect(drift.missing).toEqual([]);
  });

  it('blocks who may not connect, and lets go only after its bytes were booked', () => {
    const peers = peersOf(wanted('a', { active: false }));
    expect(peers.drift([real('a')])).toEqual({
      changes: [{ action: 'block', publicKey: 'key-a' }],
      leaving: ['id-a'],
      missing: [],
    });
    expect(peers.drift([real('a', { allowedIps: [] })])).toEqual({ changes: [], leaving: ['id-a'], missing: [] });
    expect(peers.drift([])).toEqual({ changes: [], leaving: [], missing: [] });
  });

  it('follows a client that got new keys', () => {
    const peers = peersOf(wanted('a'));
    peers.put({ ...wanted('a'), publicKey: 'key-new' });
    const drift = peers.drift([real('a')]);
    expect(drift.changes.map((change) => change.action)).toEqual(['remove', 'set']);
    expect(peers.ofKey('key-a')).toBeUndefined();
    expect(peers.ofClient('id-a')?.publicKey).toBe('key-new');
  });
});
