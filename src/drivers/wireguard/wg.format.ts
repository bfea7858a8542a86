import type { PeerReading, PeerSpec } from '../../domain/tunnels/tunnel.port.js';
import type { DeviceState } from './wireguard.transport.js';

/** Reads `wg show <device> dump`: tab-separated, first the device, then a line a peer. */
export function parseDump(text: string): DeviceState {
  const lines = text.split('\n');
  const [, publicKey, listenPort] = (lines[0] ?? '').split('\t');
  const peers: PeerReading[] = [];
  for (const line of lines.slice(1)) {
    const fields = line.split('\t');
    if (fields.length < 8) continue;
    peers.push({
      publicKey: fields[0]!,
      presharedKey: present(fields[1]),
      allowedIps: present(fields[3])?.split(',') ?? [],
      latestHandshake: Number(fields[4]),
      rxBytes: Number(fields[5]),
      txBytes: Number(fields[6]),
    });
  }
  return { publicKey: present(publicKey), listenPort: Number(listenPort ?? 0), peers };
}

/**
 * Peers for `wg addconf`, which adds or updates them and leaves all others. Their allowed IPs are replaced. A peer
 * without a preshared key names the one of zeros: left out, an earlier one would stay.
 */
export function renderPeers(peers: readonly PeerSpec[]): string {
  return peers
    .map(
      ({ publicKey, presharedKey, allowedIps }) =>
        `[Peer]\nPublicKey = ${publicKey}\nPresharedKey = ${presharedKey || NO_KEY}\nAllowedIPs = ${allowedIps.join(', ')}\n`,
    )
    .join('');
}

const NO_KEY = Buffer.alloc(32).toString('base64');

function present(field: string | undefined): string | null {
  return field === undefined || field === '' || field === '(none)' ? null : field;
}
