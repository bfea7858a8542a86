import { describe, expect, it } from 'vitest';
import {
  type EngineSpec,
  type InboundSpec,
  ProxyRefusedError,
  type ProxyUserSpec,
} from '../../src/domain/xray/proxy-engine.port.js';
import { capabilityOf } from '../../src/drivers/xray/engine.capability.js';
import {
  masked,
  parseConfig,
  portsOf,
  renderConfig,
  structureOf,
  usersOf,
  withUsers,
  withoutStrangers,
} from '../../src/drivers/xray/engine.config.js';
import { complaintOf, isAtLeast, serveArguments } from '../../src/drivers/xray/engine.program.js';
import { assertSpec } from '../../src/drivers/xray/engine.rules.js';

const ann: ProxyUserSpec = { id: 'ann', uuid: '66ad4540-b58c-4ad2-9926-ea63445a9b57', flow: '' };
const ben: ProxyUserSpec = { id: 'ben', uuid: '0b3d4d31-1d0e-4f2c-9c0a-5a1f3f1f9f10', flow: '' };
const key = 'A'.repeat(43);

const inbound = (change: Partial<InboundSpec> = {}): InboundSpec => ({
  tag: 'main',
  listen: '0.0.0.0',
  port: 443,
  protocol: 'vless',
  network: 'tcp',
  path: '',
  host: '',
  security: 'none',
  certificate: null,
  reality: null,
  users: [ann],
  ...change,
});

const spec = (change: Partial<EngineSpec> = {}): EngineSpec => ({
  inbounds: [inbound()],
  accessLogPath: '/var/log/access.log',
  reachableAddresses: [],
  ...change,
});

const reality = { privateKey: key, dest: 'site.test:443', serverNames: ['site.test'], shortIds: ['', '01ab'] };
const render = (given: EngineSpec, version = '26.7.28') =>
  renderConfig(given, { family: 'xray', version }, '/run/api.sock');

describe('a config', () => {
  it('hands the API inbound to the API before any other rule, and blocks what is private after it', () => {
    const { routing, outbounds } = render(spec()) as unknown as {
      routing: { domainStrategy: string; rules: { inboundTag?: string[]; ip?: string[]; outboundTag: string }[] };
      outbounds: { protocol: string }[];
    };
    expect(routing.domainStrategy).toBe('IPOnDemand');
    expect(routing.rules[0]).toMatchObject({ inboundTag: ['causeway-api'], outboundTag: 'causeway-api' });
    const blocked = routing.rules.filter((rule) => rule.outboundTag === 'blocked').flatMap((rule) => rule.ip);
    for (const range of ['127.0.0.0/8', '::1/128', '10.0.0.0/8', '192.168.0.0/16', '172.16.0.0/12', '169.254.0.0/16']) {
      expect(blocked).toContain(range);
    }
    expect(outbounds[0]!.protocol).toBe('freedom');
  });

  it('lets a private address of this server through after loopback is blocked and before its range is', () => {
    const { routing } = render(spec({ reachableAddresses: ['10.0.0.5'] })) as unknown as {
      routing: { rules: { ip?: string[]; outboundTag: string }[] };
    };
    const at = (ip: string): number => routing.rules.findIndex((rule) => rule.ip?.includes(ip));
    expect(at('127.0.0.0/8')).toBeLessThan(at('10.0.0.5'));
    expect(at('10.0.0.5')).toBeLessThan(at('10.0.0.0/8'));
    expect(routing.rules[at('10.0.0.5')]!.outboundTag).toBe('direct');
  });

  it('blocks datagrams where an engine cannot keep them from this host', () => {
    const udp = { type: 'field', network: 'udp', outboundTag: 'blocked' };
    const rules = (config: object): unknown => (config as { routing: { rules: unknown } }).routing.rules;
    expect(rules(render(spec(), '26.3.27'))).toContainEqual(udp);
    expect(rules(render(spec(), '26.5.3'))).not.toContainEqual(udp);
    expect(capabilityOf('xray', '26.3.27').hint).toContain('26.5.3');
  });

  it.each([
    ['vless', { id: ann.uuid, email: 'ann', level: 0 }],
    ['vmess', { id: ann.uuid, email: 'ann', level: 0, alterId: 0 }],
    ['trojan', { password: ann.uuid, email: 'ann', level: 0 }],
  ] as const)('names users of %s by our id', (protocol, client) => {
    expect(render(spec({ inbounds: [inbound({ protocol })] })).inbounds[0]!.settings.clients).toEqual([client]);
  });

  it('gives back its users, and takes others, whatever the protocol', () => {
    for (const protocol of ['vless', 'vmess', 'trojan'] as const) {
      const config = render(spec({ inbounds: [inbound({ protocol, users: [ann] })] }));
      const other = render(spec({ inbounds: [inbound({ protocol, users: [ann, ben] })] }));
      expect(structureOf(config)).toBe(structureOf(other));
      expect(withUsers(config, usersOf(other))).toEqual(other);
      expect(withoutStrangers(other, config)).toEqual(config);
    }
    const vision = render(spec({ inbounds: [inbound({ users: [{ ...ann, flow: 'xtls-rprx-vision' }] })] }));
    expect(withUsers(vision, usersOf(vision))).toEqual(vision);
  });

  it('without strangers drops users with other credentials and of inbounds that are gone', () => {
    const good = render(spec({ inbounds: [inbound({ users: [ann, ben] })] }));
    const changed = render(spec({ inbounds: [inbound({ users: [{ ...ann, uuid: ben.uuid }] })] }));
    expect(usersOf(withoutStrangers(good, changed)).get('main')!.size).toBe(0);
    expect(usersOf(withoutStrangers(good, render(spec({ inbounds: [] })))).get('main')!.size).toBe(0);
  });

  it('differs where more than users differ', () => {
    const structure = structureOf(render(spec()));
    expect(structureOf(render(spec({ inbounds: [inbound({ port: 444 })] })))).not.toBe(structure);
    expect(structureOf(render(spec({ accessLogPath: null })))).not.toBe(structure);
    expect(portsOf(render(spec()))).toEqual([443]);
  });

  it('is read back as it was written, and damaged ones are none', () => {
    const config = render(spec({ inbounds: [inbound({ security: 'reality', reality })] }));
    expect(parseConfig(JSON.stringify(config))).toEqual(config);
    for (const text of ['', '{', 'null', '[]', '{"inbounds":7}', '{"inbounds":[null]}', '{"inbounds":[{}]}']) {
      expect(parseConfig(text), text).toBeNull();
    }
  });

  it('masks all secrets', () => {
    const certificate = { certificatePem: '-----BEGIN C-----\nx', keyPem: '-----BEGIN K-----\nsecret' };
    const inbounds = [
      inbound({ security: 'reality', reality }),
      inbound({ tag: 'b', port: 2, protocol: 'trojan', security: 'tls', certificate }),
    ];
    const text = JSON.stringify(masked(render(spec({ inbounds }))));
    for (const secret of [ann.uuid, key, 'secret']) expect(text).not.toContain(secret);
    expect(text).toContain('"email":"ann"');
  });
});

describe('a spec', () => {
  const xray = capabilityOf('xray', '26.7.28');
  const v2ray = capabilityOf('v2ray', '4.34.0');

  it.each<[string, Partial<InboundSpec>]>([
    ['a tag with a space', { tag: 'a b' }],
    ['the tag of the API', { tag: 'causeway-api' }],
    ['no address', { listen: 'localhost' }],
    ['port 0', { port: 0 }],
    ['a port too high', { port: 65_536 }],
    ['a path with a line break', { network: 'ws', path: '/a\nb' }],
    ['a path without a slash', { network: 'ws', path: 'a' }],
    ['a path on tcp', { path: '/a' }],
    ['a service name with a slash', { network: 'grpc', path: 'a/b' }],
    ['a host on tcp', { host: 'a.test' }],
    ['a host with quotes', { network: 'ws', path: '/', host: 'a"b' }],
    ['tls without a certificate', { security: 'tls' }],
    ['reality without keys', { security: 'reality' }],
    ['reality keys without reality', { reality }],
    ['reality over ws', { security: 'reality', reality, network: 'ws', path: '/' }],
    ['reality with a dest without a port', { security: 'reality', reality: { ...reality, dest: 'site.test' } }],
    ['reality without a short id', { security: 'reality', reality: { ...reality, shortIds: [] } }],
    ['reality with an odd short id', { security: 'reality', reality: { ...reality, shortIds: ['abc'] } }],
    ['reality with a short key', { security: 'reality', reality: { ...reality, privateKey: 'abc' } }],
    ['vision without tls', { users: [{ ...ann, flow: 'xtls-rprx-vision' }] }],
    ['an id with capitals', { users: [{ ...ann, id: 'Ann' }] }],
    ['an id with >>>', { users: [{ ...ann, id: 'a>>>b' }] }],
    ['a bad uuid', { users: [{ ...ann, uuid: '1' }] }],
    ['one uuid for two', { users: [ann, { ...ben, uuid: ann.uuid }] }],
    ['one user twice', { users: [ann, { ...ben, id: 'ann' }] }],
  ])('with %s is refused', (_, change) => {
    expect(() => assertSpec(spec({ inbounds: [inbound(change)] }), xray)).toThrow(ProxyRefusedError);
  });

  it('is refused where the engine at hand cannot do it, with the reason', () => {
    const refuse = (change: Partial<InboundSpec>): unknown => {
      try {
        assertSpec(spec({ inbounds: [inbound(change)] }), v2ray);
      } catch (error) {
        return (error as Error).message;
      }
      return null;
    };
    expect(refuse({})).toBeNull();
    expect(refuse({ security: 'reality', reality })).toBe('V2Ray 4.34.0 has no security "reality"');
    expect(refuse({ network: 'grpc', path: 'a' })).toBe('V2Ray 4.34.0 has no network "grpc"');
    expect(refuse({ network: 'ws', path: '/', host: 'a.test' })).toContain('does not check the host');
    expect(refuse({ users: [{ ...ann, flow: 'xtls-rprx-vision' }] })).toContain('has no flow');
  });

  it('passes with all that Xray can do', () => {
    const users: ProxyUserSpec[] = [{ ...ann, flow: 'xtls-rprx-vision' }];
    expect(() =>
      assertSpec(spec({ inbounds: [inbound({ security: 'reality', reality, users })] }), xray),
    ).not.toThrow();
    expect(() =>
      assertSpec(spec({ inbounds: [inbound({ network: 'grpc', path: 'a.b', security: 'reality', reality })] }), xray),
    ).not.toThrow();
    expect(() =>
      assertSpec(spec({ inbounds: [inbound({ network: 'xhttp', path: '/', host: 'a.test' })] }), xray),
    ).not.toThrow();
  });

  it('is refused with two inbounds of one tag or port, a relative log, or an address that is never reachable', () => {
    const second = inbound({ tag: 'two', port: 444 });
    assertSpec(spec({ inbounds: [inbound(), second] }), xray);
    for (const wrong of [
      spec({ inbounds: [inbound(), { ...second, tag: 'main' }] }),
      spec({ inbounds: [inbound(), { ...second, port: 443 }] }),
      spec({ accessLogPath: 'access.log' }),
      spec({ accessLogPath: '/a\nb' }),
      spec({ reachableAddresses: ['127.0.0.1'] }),
      spec({ reachableAddresses: ['::1'] }),
      spec({ reachableAddresses: ['10.0.0.0/8'] }),
    ]) {
      expect(() => assertSpec(wrong, xray)).toThrow(ProxyRefusedError);
    }
  });
});

describe('an engine program', () => {
  it('is started the way that its version wants', () => {
    const program = (family: 'xray' | 'v2ray', version: string) => ({ path: '/x', family, version });
    expect(serveArguments(program('xray', '26.7.28'), '/c.json')).toEqual(['run', '-c', '/c.json']);
    expect(serveArguments(program('v2ray', '5.52.0'), '/c.json')).toEqual(['run', '-c', '/c.json']);
    expect(serveArguments(program('v2ray', '4.34.0'), '/c.json')).toEqual(['-config', '/c.json']);
  });

  it('has versions that are compared by number', () => {
    expect(isAtLeast('4.34.0', 4, 36)).toBe(false);
    expect(isAtLeast('4.36', 4, 36, 0)).toBe(true);
    expect(isAtLeast('26.3.27', 26, 5)).toBe(false);
    expect(isAtLeast('26.10.1', 26, 5)).toBe(true);
  });

  it.each([
    [
      'V2Ray 4.34.0 (user) x\nA unified platform for anti-censorship.\n2026/01/01 00:00:00 [Info] v2ray.com/core/main/jsonem: Reading config: c.json\nmain: failed to create server > v2ray.com/core/proxy/vless/inbound: failed to get VLESS user > v2ray.com/core/proxy/vless: failed to parse ID > invalid UUID: zzz\n',
      'failed to parse ID: invalid UUID: zzz',
    ],
    [
      'Xray 26.3.27 (Xray, Penetrates Everything.)\nFailed to start: app/proxyman/inbound: failed to listen TCP on 4567 > transport/internet/tcp: failed to listen TCP on 0.0.0.0:4567 > listen tcp 0.0.0.0:4567: bind: address already in use\n',
      'failed to listen TCP on 0.0.0.0:4567: listen tcp 0.0.0.0:4567: bind: address already in use',
    ],
    ['', 'it did not say why'],
  ])('complains in one line', (output, complaint) => {
    expect(complaintOf(output)).toBe(complaint);
  });
});
