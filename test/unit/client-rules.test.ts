import { describe, expect, it } from 'vitest';
import { renderClientConfig } from '../../src/domain/clients/client-config.js';
import { checkedByteLimit, checkedClientName, checkedNote } from '../../src/domain/clients/client-rules.js';
import { parseIpv4Range } from '../../src/domain/interfaces/ipv4-range.js';

describe('a client name', () => {
  it.each(['a', 'x'.repeat(64), 'Алиса', '张伟', 'نام', 'a b', 'a_b-c.d@e+f', '0', '__proto__'])(
    'may be %s',
    (name) => {
      expect(checkedClientName(name)).toBe(name);
    },
  );

  it.each([
    '',
    'x'.repeat(65),
    ' a',
    'a ',
    'a\nb',
    'a\0',
    "a'b",
    'a"b',
    'a/b',
    '../x',
    '.',
    '..',
    '$(id)',
    'a;b',
    '😀',
  ])('may not be %j', (name) => {
    expect(() => checkedClientName(name)).toThrow(/client name/);
  });

  it('is the same name however its accents are encoded', () => {
    expect(checkedClientName('Ame\u0301lie')).toBe('Amélie');
  });
});

describe('a traffic limit', () => {
  it('is exact up to 2^63-1 and refused beyond', () => {
    expect(checkedByteLimit('9223372036854775807')).toBe('9223372036854775807');
    expect(checkedByteLimit('007')).toBe('7');
    for (const text of ['9223372036854775808', '-1', '1.5', '1e3', '', ' 1', '0x10']) {
      expect(() => checkedByteLimit(text)).toThrow(/traffic limit/);
    }
  });
});

describe('a note', () => {
  it('is free text without NUL, up to 1000 characters', () => {
    expect(checkedNote('two\nlines; $(id)')).toBe('two\nlines; $(id)');
    expect(() => checkedNote('a\0b')).toThrow();
    expect(() => checkedNote('x'.repeat(1001))).toThrow();
  });
});

describe("an interface's range", () => {
  it.each([
    ['10.0.0.1/24', '10.0.0.0/24'],
    ['10.255.255.254/8', '10.0.0.0/8'],
    ['192.168.7.5/30', '192.168.7.4/30'],
    ['100.64.0.1/16', '100.64.0.0/16'],
  ])('reads %s as a host of %s', (text, network) => {
    expect(parseIpv4Range(text)).toMatchObject({ address: text, network });
  });

  it.each([
    '10.0.0.0/24',
    '10.0.0.255/24',
    '10.0.0.1',
    '10.0.0.1/7',
    '10.0.0.1/31',
    '10.0.0.1/33',
    '10.0.0.1/024',
    '256.0.0.1/24',
    '10.0.1/24',
    '010.0.0.1/24',
    '127.0.0.1/24',
    '224.0.0.1/24',
    '0.0.0.1/8',
    'fd00::1/64',
    '10.0.0.1/24\nPostUp = x',
    '',
  ])('refuses %j', (text) => {
    expect(parseIpv4Range(text)).toBeNull();
  });
});

describe('a client file', () => {
  const parts = {
    privateKey: 'PRIVATE',
    addresses: ['10.0.0.2', 'fd00::2'],
    dns: '8.8.8.8, 1.1.1.1',
    mtu: 1420,
    serverPublicKey: 'SERVER',
    presharedKey: 'SHARED',
    endpointHost: '203.0.113.1',
    endpointPort: 51820,
    allowedIps: '0.0.0.0/0, ::/0',
    persistentKeepalive: 25,
  };

  it('has what an application needs, IPv4 first', () => {
    expect(renderClientConfig(parts)).toBe(
      [
        '[Interface]',
        'PrivateKey = PRIVATE',
        'Address = 10.0.0.2/32, fd00::2/128',
        'DNS = 8.8.8.8, 1.1.1.1',
        'MTU = 1420',
        '',
        '[Peer]',
        'PublicKey = SERVER',
        'PresharedKey = SHARED',
        'Endpoint = 203.0.113.1:51820',
        'AllowedIPs = 0.0.0.0/0, ::/0',
        'PersistentKeepalive = 25',
        '',
      ].join('\n'),
    );
  });

  it('leaves DNS and keepalive out when there is none, and brackets an IPv6 endpoint', () => {
    const text = renderClientConfig({ ...parts, dns: '', persistentKeepalive: 0, endpointHost: '2001:db8::1' });
    expect(text).not.toMatch(/DNS|Keepalive/);
    expect(text).toContain('Endpoint = [2001:db8::1]:51820');
  });
});
