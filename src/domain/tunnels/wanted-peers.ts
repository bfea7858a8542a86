import type { PeerChange, PeerReading } from './tunnel.port.js';

/** One client as its device should treat it. */
export interface WantedPeer {
  clientId: string;
  publicKey: string;
  presharedKey: string;
  allowedIps: string[];
  /** False: it is being cut off, and gone from the device once its last bytes are booked. */
  active: boolean;
}

/** What one reading of a device says of the difference between wanted and real. */
export interface Drift {
  /** Changes that bring the device back to what is wanted; removals first, so that addresses are free to move. */
  changes: PeerChange[];
  /** Clients whose peers must leave the device, but only after their last bytes were booked. */
  leaving: string[];
  /** Clients whose peers are not there though they should be: their counters begin at zero. */
  missing: string[];
}

/**
 * The peers that one device should have, kept by the engine's owner between two looks at the database. It is only a
 * cache of rows: filled from them, and replaced by them whenever they are read again.
 */
export class WantedPeers {
  private readonly byKey = new Map<string, WantedPeer>();
  private readonly byClient = new Map<string, WantedPeer>();

  put(peer: WantedPeer): void {
    this.drop(peer.clientId);
    this.byKey.set(peer.publicKey, peer);
    this.byClient.set(peer.clientId, peer);
  }

  drop(clientId: string): void {
    const peer = this.byClient.get(clientId);
    if (!peer) return;
    this.byClient.delete(clientId);
    this.byKey.delete(peer.publicKey);
  }

  ofClient(clientId: string): WantedPeer | undefined {
    return this.byClient.get(clientId);
  }

  ofKey(publicKey: string): WantedPeer | undefined {
    return this.byKey.get(publicKey);
  }

  /** Compares a reading with what is wanted. Peers that nobody wants and that we do not know are removed at once. */
  drift(peers: readonly PeerReading[]): Drift {
    const removals: PeerChange[] = [];
    const additions: PeerChange[] = [];
    const leaving: string[] = [];
    const missing: string[] = [];
    let seen = 0;
    for (const real of peers) {
      const wanted = this.byKey.get(real.publicKey);
      if (!wanted) {
        removals.push({ action: 'remove', publicKey: real.publicKey });
        continue;
      }
      if (!wanted.active) {
        if (real.allowedIps.length > 0) removals.push({ action: 'block', publicKey: real.publicKey });
        leaving.push(wanted.clientId);
        continue;
      }
      seen += 1;
      if (!matches(wanted, real)) additions.push(setPeer(wanted));
    }
    if (seen < this.byKey.size) {
      const present = new Set(peers.map((peer) => peer.publicKey));
      for (const wanted of this.byKey.values()) {
        if (!wanted.active || present.has(wanted.publicKey)) continue;
        missing.push(wanted.clientId);
        additions.push(setPeer(wanted));
      }
    }
    return { changes: [...removals, ...additions], leaving, missing };
  }
}

/** The change that makes a device treat this client as wanted, if it is wanted at all. */
export const setPeer = ({ publicKey, presharedKey, allowedIps }: WantedPeer): PeerChange => ({
  action: 'set',
  peer: { publicKey, presharedKey, allowedIps },
});

function matches(wanted: WantedPeer, real: PeerReading): boolean {
  return (
    real.presharedKey === wanted.presharedKey &&
    real.allowedIps.length === wanted.allowedIps.length &&
    wanted.allowedIps.every((range) => real.allowedIps.includes(range))
  );
}
