import { expect, test } from 'vitest';
import { parseAccessLogLine } from '../../src/domain/xray/access-log.line.js';
import { ConnectionTally } from '../../src/domain/xray/connection.tally.js';
import { deepMerge } from '../../src/domain/xray/deep-merge.js';
import type { ProxyCapability } from '../../src/domain/xray/proxy-engine.port.js';
import { shareLink, type ShareLinkParts } from '../../src/domain/xray/share-link.js';
import { checkedInbound, defaultInbound, unfitFor } from '../../src/domain/xray/xray-inbound.rules.js';
import { checkedAlias, checkedEmail, checkedTrafficLimit, emailKey } from '../../src/domain/xray/xray-user.rules.js';

const UUID = '0b7cf0f6-0c3c-4f0f-9a56-1f6a3cf0a111';

const v2ray: ProxyCapability = {
  family: 'v2ray',
  version: '4.34.0',
  external: false,
  protocols: ['vless', 'vmess', 'trojan'],
  networks: ['tcp', 'ws'],
  securities: ['none', 'tls'],
  flows: [],
  onlineUsers: false,
  message: '',
  hint: null,
};
const xray: ProxyCapability = {
  ...v2ray,
  family: 'xray',
  networks: ['tcp', 'ws', 'grpc', 'xhttp', 'httpupgrade'],
  securities: ['none', 'tls', 'reality'],
  flows: ['xtls-rprx-vision'],
};

test('an email has one @ and nothing that a config, a log or a shell could trip over', () => {
  for (const good of ['a@b', 'User.Name+tag@Example.com', 'имя@почта.рф', `${'a'.repeat(250)}@b.co`]) {
    expect(checkedEmail(good)).toBe(good);
  }
  const bad = ['', 'a', '@', 'a@', '@b', 'a@b@c', 'a b@c', 'a@b\n', 'a\t@b', '"a"@b', "a'@b", '`a@b', 'a$@b', 'a{@b'];
  for (const text of [...bad, 'a}@b', '<a@b', 'a>>>@b', 'a\0@b', `${'a'.repeat(255)}@b`, '\u202ea@b', '\ud800a@b']) {
    expect(() => checkedEmail(text), JSON.stringify(text)).toThrow('An email has one @');
  }
  expect(emailKey('USER@Example.COM')).toBe('user@example.com');
  // Composed and decomposed are the same.
  expect(emailKey('re\u0301@x')).toBe(emailKey('r\u00e9@x'));
});

test('aliases and limits are bounded', () => {
  expect(checkedAlias('  Имя пользователя ')).toBe('Имя пользователя');
  expect(() => checkedAlias('a\nb')).toThrow('alias');
  expect(() => checkedAlias('a'.repeat(129))).toThrow('alias');
  expect(checkedTrafficLimit('9223372036854775807')).toBe('9223372036854775807');
  for (const bad of ['-1', '1.5', '', '9223372036854775808', '1e3']) {
    expect(() => checkedTrafficLimit(bad)).toThrow('whole number of bytes');
  }
});

const parts: ShareLinkParts = {
  protocol: 'vless',
  uuid: UUID,
  host: 'vpn.example.com',
  port: 443,
  network: 'tcp',
  path: '',
  security: 'none',
  sni: '',
  fingerprint: 'chrome',
  flow: '',
  publicKey: 'PUB_key-1',
  shortId: 'a1b2',
  remark: 'user@example.com',
};

test('links follow the rules of each protocol, network and security', () => {
  expect(shareLink(parts)).toBe(
    `vless://${UUID}@vpn.example.com:443?encryption=none&type=tcp&security=none#user%40example.com`,
  );
  expect(shareLink({ ...parts, security: 'reality', sni: 'www.example.org', flow: 'xtls-rprx-vision' })).toBe(
    `vless://${UUID}@vpn.example.com:443?encryption=none&type=tcp&security=reality&sni=www.example.org&fp=chrome` +
      '&pbk=PUB_key-1&sid=a1b2&spx=%2F&flow=xtls-rprx-vision#user%40example.com',
  );
  expect(shareLink({ ...parts, host: '2001:db8::1', network: 'ws', path: '/a b?x=1', security: 'tls' })).toBe(
    `vless://${UUID}@[2001:db8::1]:443?encryption=none&type=ws&security=tls&path=%2Fa%20b%3Fx%3D1&sni=2001%3Adb8%3A%3A1` +
      '&fp=chrome#user%40example.com',
  );
  expect(shareLink({ ...parts, protocol: 'trojan', host: 'пример.рф', network: 'grpc', path: 'svc' })).toBe(
    `trojan://${UUID}@xn--e1afmkfd.xn--p1ai:443?type=grpc&security=none&serviceName=svc&mode=gun#user%40example.com`,
  );
});

test('a VMess link is JSON in base64', () => {
  const link = shareLink({
    ...parts,
    protocol: 'vmess',
    network: 'ws',
    path: '/ws',
    security: 'tls',
    sni: 'a.example',
  });
  expect(link).toMatch(/^vmess:\/\/[A-Za-z0-9+/]+=*$/);
  expect(JSON.parse(Buffer.from(link.slice(8), 'base64').toString())).toEqual({
    v: '2',
    ps: 'user@example.com',
    add: 'vpn.example.com',
    port: '443',
    id: UUID,
    aid: '0',
    scy: 'auto',
    net: 'ws',
    type: 'none',
    host: '',
    path: '/ws',
    tls: 'tls',
    sni: 'a.example',
    alpn: '',
    fp: 'chrome',
  });
});

test('access log lines of both families are read, others are not', () => {
  const id = `${UUID}-1`;
  expect(
    parseAccessLogLine(`2026/11/21 23:26:43 10.0.0.7:51656 accepted tcp:WWW.Example.com:443 [direct] email: ${id}`),
  ).toEqual({ minute: '2026/11/21 23:26', address: '10.0.0.7', domain: 'www.example.com', engineId: id });
  expect(
    parseAccessLogLine(
      `2026/11/21 23:26:43.123456 from tcp:[2001:db8::5]:5000 accepted udp:[2606::1]:53 [in -> direct] email: ${id}`,
    ),
  ).toEqual({ minute: '2026/11/21 23:26', address: '2001:db8::5', domain: '2606::1', engineId: id });
  expect(
    parseAccessLogLine(`2026/11/21 23:26:43 from 1.2.3.4:5 accepted //x.example:80 [a >> b] email: ${id}`)?.domain,
  ).toBe('other');
  for (const line of [
    '',
    'garbage accepted',
    '2026/11/21 23:26:43 127.0.0.1:34288 rejected  proxy/vless/encoding: invalid request user id',
    '2026/11/21 23:26:43 127.0.0.1:34288 accepted tcp:127.0.0.1:80 [api]',
    `2026/11/21 23:26:43 1.2.3.4:5 accepted tcp:x:1 email: ${'a'.repeat(65)}`,
    `2026/11/21 23:26:43 1.2.3.4:5 accepted tcp:${'x'.repeat(2000)}:1 email: ${id}`,
  ]) {
    expect(parseAccessLogLine(line), line).toBeNull();
  }
});

test('objects merge deeply, all else is replaced, and no prototype is reached', () => {
  const base = { theme: 'dark', panels: { left: { open: true, size: 3 }, list: [1, 2] } };
  expect(deepMerge(base, { panels: { left: { size: 4 }, list: [3] }, extra: null })).toEqual({
    theme: 'dark',
    panels: { left: { open: true, size: 4 }, list: [3] },
    extra: null,
  });
  expect(base.panels.left.size).toBe(3);
  deepMerge({}, JSON.parse('{"__proto__": {"polluted": true}}') as Record<string, unknown>);
  expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
});

test('an inbound is the safest that the engine knows, and what does not fit together is refused', () => {
  const plain = defaultInbound(v2ray, 'ab');
  expect(plain).toMatchObject({ protocol: 'vless', network: 'tcp', security: 'none', flow: '' });
  const best = defaultInbound(xray, 'ab');
  expect(best).toMatchObject({ security: 'reality', flow: 'xtls-rprx-vision', dest: 'www.microsoft.com:443' });
  expect(checkedInbound(best)).toEqual(best);
  expect(unfitFor(v2ray, best)).toBe('v2ray 4.34.0 cannot do security reality');
  expect(unfitFor(v2ray, { ...plain, network: 'grpc' })).toBe('v2ray 4.34.0 cannot do network grpc');
  expect(unfitFor(xray, best)).toBeNull();

  expect(checkedInbound({ ...best, security: 'tls' }).flow).toBe('xtls-rprx-vision');
  expect(checkedInbound({ ...best, security: 'none' }).flow).toBe('');
  expect(checkedInbound({ ...plain, network: 'ws', path: 'ws' }).path).toBe('/ws');
  expect(checkedInbound({ ...plain, path: '/left' }).path).toBe('');
  for (const [change, reason] of [
    [{ ...best, protocol: 'vmess' }, 'reality needs protocol vless or trojan'],
    [{ ...best, network: 'ws', path: '/' }, 'reality needs network'],
    [{ ...best, sid: 'abc' }, 'sid'],
    [{ ...best, dest: 'no-port' }, 'dest'],
    [{ ...best, sni: '' }, 'sni'],
    [{ ...plain, serverPort: 0 }, 'server_port'],
    [{ ...plain, serverPort: 65_536 }, 'server_port'],
    [{ ...plain, inboundTag: 'a b' }, 'inbound_tag'],
    [{ ...plain, serverHost: 'a b' }, 'server_host'],
    [{ ...plain, network: 'ws', path: '/a\n' }, 'path'],
    [{ ...plain, network: 'quic' }, 'network must be one of'],
    [{ ...plain, certificateFile: '/etc/a.pem' }, 'key_file'],
    [{ ...plain, certificateFile: 'a.pem', keyFile: '/b' }, 'certificate_file'],
  ] as [typeof plain, string][]) {
    expect(() => checkedInbound(change), reason).toThrow(reason);
  }
});

test('a tally keeps the newest addresses and bounded domains, and counts the last minute', () => {
  const tally = new ConnectionTally();
  const entry = (domain: string, address: string) => ({ minute: '2026/01/01 00:00', address, domain, engineId: '' });
  const now = Date.UTC(2026, 5, 1);
  for (let index = 0; index < 300; index += 1) tally.add('u', entry(`d${index}.example`, `10.0.0.${index % 20}`), now);
  const [domains] = tally.pending().domains;
  expect(domains?.conns.size).toBe(201);
  expect(domains?.conns.get('other')).toBe(100);
  expect(tally.allAddressesOf('u', now)).toHaveLength(16);
  expect(tally.allAddressesOf('u', now)[0]).toBe('10.0.0.19');
  expect(tally.openedLately('u', now)).toBe(300);
  tally.booked();
  expect(tally.pending()).toEqual({ conns: new Map(), domains: [] });
  expect(tally.weightsOf('u').size).toBe(201);
  expect(tally.openedLately('u', now + 60_000)).toBe(0);
  expect(tally.allAddressesOf('u', now + 86_400_001)).toEqual([]);
});
