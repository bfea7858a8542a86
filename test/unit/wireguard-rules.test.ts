import { describe, expect, it } from 'vitest';
import { type FirewallSpec, type PeerChange, TunnelRefusedError } from '../../src/domain/tunnels/tunnel.port.js';
import { renderTransaction } from '../../src/drivers/wireguard/firewall.ruleset.js';
import {
  assertLinkName,
  canonicalAddress,
  canonicalCidr,
  checkedChanges,
} from '../../src/drivers/wireguard/peer.rules.js';

const key = (byte: number): string => Buffer.alloc(32, byte).toString('base64');
const set = (byte: number, ...allowedIps: string[]): PeerChange => ({
  action: 'set',
  peer: { publicKey: key(byte), presharedKey: '', allowedIps },
});

describe('ranges', () => {
  it('get the form that a device shows', () => {
    expect(canonicalCidr('10.8.0.2/32')).toBe('10.8.0.2/32');
    expect(canonicalCidr('10.8.0.7/24')).toBe('10.8.0.0/24');
    expect(canonicalCidr('0.0.0.0/0')).toBe('0.0.0.0/0');
    expect(canonicalCidr('FD00:0:0:0::0002/128')).toBe('fd00::2/128');
    expect(canonicalCidr('fd00::1:2/64')).toBe('fd00::/64');
    expect(canonicalAddress('FD00:0::1/64')).toBe('fd00::1/64');
    expect(canonicalAddress('10.8.0.1/24')).toBe('10.8.0.1/24');
  });

  it('are refused in any other form', () => {
    const wrong = ['', '/', '10.8.0.2', '10.8.0.2/', '10.8.0.2/33', '10.8.0.2/032', '10.8.0.2/+1', '010.8.0.2/32'];
    wrong.push('300.8.0.2/32', '10.8.2/32', 'fd00::1/129', 'fd00::1%lo/64', ' fd00::1/64', '10.8.0.2/32\n', 'x/1');
    for (const text of wrong) {
      expect(() => canonicalCidr(text), text).toThrow(TunnelRefusedError);
      expect(() => canonicalAddress(text), text).toThrow(TunnelRefusedError);
    }
  });
});

describe('device names', () => {
  it('are fit for a link, a file and an argument', () => {
    for (const name of ['wg0', 'a', '_=+.-', 'wg0.1', 'x'.repeat(15)]) expect(() => assertLinkName(name)).not.toThrow();
    for (const name of ['', '.', '..', '-f', 'a/b', 'a b', 'wg0\n', 'é', 'x'.repeat(16)]) {
      expect(() => assertLinkName(name), name).toThrow(TunnelRefusedError);
    }
  });
});

describe('changes of one call', () => {
  it('may pass a range on only when the one before has given it up', () => {
    expect(() => checkedChanges([set(1, '10.0.0.2/32'), set(2, '10.0.0.2/32')], null)).toThrow(TunnelRefusedError);
    expect(() => checkedChanges([set(1, '10.0.0.2/24'), set(2, '10.0.0.3/24')], null)).toThrow(TunnelRefusedError);
    for (const given of [
      { action: 'remove', publicKey: key(1) } as const,
      { action: 'block', publicKey: key(1) } as const,
      set(1, '10.0.0.3/32'),
    ]) {
      expect(() => checkedChanges([set(1, '10.0.0.2/32'), given, set(2, '10.0.0.2/32')], null)).not.toThrow();
    }
    expect(() => checkedChanges([set(1, '10.0.0.2/32'), set(1, '10.0.0.2/32')], null)).not.toThrow();
  });

  it('may not name the key of the device', () => {
    expect(() => checkedChanges([set(1)], key(1))).toThrow(TunnelRefusedError);
    expect(() => checkedChanges([set(1)], key(2))).not.toThrow();
  });
});

describe('packet rules', () => {
  const spec = (device: string, change: Partial<FirewallSpec> = {}): FirewallSpec => ({
    device,
    ranges: ['10.8.0.0/24'],
    listenPort: 51_820,
    allowPeers: true,
    allowHost: true,
    allowLan: true,
    ...change,
  });

  it('are none without devices, and what stands in chains of others goes', () => {
    const chain = { family: 'ip', table: 'filter', name: 'FORWARD', side: 'forward', wanted: true } as const;
    expect(renderTransaction([], [{ ...chain, handles: [4, 9] }])).toBe(
      'add table inet causeway\ndelete table inet causeway\n' +
        'delete rule ip filter FORWARD handle 4\ndelete rule ip filter FORWARD handle 9\n',
    );
  });

  it('hide the clients of a closed device from those of all others', () => {
    const text = renderTransaction([spec('wg0', { allowPeers: false }), spec('wg1')], []);
    expect(text).toContain('iifname "wg0" oifname { "wg0", "wg1" } drop');
    expect(text).toContain('iifname { "wg0", "wg1" } oifname "wg0" drop');
    expect(text).not.toContain('iifname "wg1" oifname');
  });

  it('never masquerade between devices, nor a range twice', () => {
    const text = renderTransaction([spec('wg0'), spec('wg1', { ranges: ['10.8.0.0/24', 'fd00::/64'] })], []);
    expect(text.match(/masquerade/g)).toHaveLength(2);
    expect(text).toContain('ip6 saddr fd00::/64 oifname != { "wg0", "wg1" } masquerade');
  });

  it('leave chains of others without a rule for a family that no device has', () => {
    const chain = { table: 'filter', name: 'FORWARD', side: 'forward', wanted: true } as const;
    const chains = (['ip', 'ip6'] as const).map((family) => ({ ...chain, family, handles: [] }));
    const text = renderTransaction([spec('wg0')], chains);
    expect(text.match(/insert rule ip filter/g)).toHaveLength(2);
    expect(text).not.toContain('insert rule ip6');
  });
});
