import type {
  EngineSpec,
  InboundSpec,
  ProxyFamily,
  ProxyNetwork,
  ProxyProtocol,
} from '../../domain/xray/proxy-engine.port.js';
import { type EngineProgram, isAtLeast } from './engine.program.js';

export const API_TAG = 'causeway-api';

/** Blocked in any case: this host itself, its links, and what no packet is sent to. */
export const NEVER_REACHABLE = [
  '0.0.0.0/8',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '224.0.0.0/4',
  '240.0.0.0/4',
  '::/128',
  '::1/128',
  'fe80::/10',
  'ff00::/8',
];
/** Blocked but for addresses that the spec lets through. */
const PRIVATE = ['10.0.0.0/8', '100.64.0.0/10', '172.16.0.0/12', '192.0.0.0/24', '192.168.0.0/16', 'fc00::/7'];

/** Clients of REALITY are let in whatever their version: newer engines would refuse those of before 2026. */
const REALITY_MIN_CLIENT = '1.8.0';

/** How one user stands in a config. */
export interface ConfigUser {
  email: string;
  level: 0;
  id?: string;
  password?: string;
  flow?: string;
  alterId?: 0;
}

interface ConfigInbound {
  tag: string;
  listen: string;
  port?: number;
  protocol: string;
  settings: { clients?: ConfigUser[]; [key: string]: unknown };
  streamSettings?: Record<string, unknown>;
}

/** A config as both families read it. */
export interface EngineConfig {
  log: Record<string, unknown>;
  inbounds: ConfigInbound[];
  [key: string]: unknown;
}

/** The config that makes an engine serve exactly the spec, and answer us on a unix socket. */
export function renderConfig(
  spec: EngineSpec,
  engine: Pick<EngineProgram, 'family' | 'version'>,
  socketPath: string,
): EngineConfig {
  const { family } = engine;
  return {
    log: { loglevel: 'warning', access: spec.accessLogPath ?? 'none' },
    stats: {},
    api: { tag: API_TAG, services: ['HandlerService', 'StatsService', 'LoggerService'] },
    policy: {
      levels: {
        '0': {
          statsUserUplink: true,
          statsUserDownlink: true,
          ...(family === 'xray' ? { statsUserOnline: true } : {}),
        },
      },
    },
    inbounds: [
      ...spec.inbounds.map((inbound) => renderInbound(inbound, family)),
      {
        tag: API_TAG,
        listen: socketPath,
        protocol: 'dokodemo-door',
        // Where to is never looked at: the first rule hands all of it to the API.
        settings: { address: '127.0.0.1', port: 1, network: 'unix' },
      },
    ],
    outbounds: [
      { tag: 'direct', protocol: 'freedom', settings: family === 'xray' ? { finalRules: finalRules(spec) } : {} },
      { tag: 'blocked', protocol: 'blackhole', settings: {} },
    ],
    routing: {
      // Names are resolved before the rules on addresses: a name may stand for this host.
      domainStrategy: 'IPOnDemand',
      rules: [
        { type: 'field', inboundTag: [API_TAG], outboundTag: API_TAG },
        ...(confinesDatagrams(engine) ? [] : [{ type: 'field', network: 'udp', outboundTag: 'blocked' }]),
        { type: 'field', ip: NEVER_REACHABLE, outboundTag: 'blocked' },
        ...(spec.reachableAddresses.length > 0
          ? [{ type: 'field', ip: [...spec.reachableAddresses].sort(), outboundTag: 'direct' }]
          : []),
        { type: 'field', ip: PRIVATE, outboundTag: 'blocked' },
      ],
    },
  };
}

/**
 * Whether datagrams can be kept from this host. Routing sees the first one of a flow alone, and Xray lets the others go
 * where they like; since 26.5.3 it has rules at the way out. V2Ray 4 routes each, or has one destination a flow.
 */
export function confinesDatagrams({ family, version }: Pick<EngineProgram, 'family' | 'version'>): boolean {
  return family === 'v2ray' || isAtLeast(version, 26, 5, 3);
}

/** The rules on addresses once more at the way out, where a name is judged by the very address that is dialled. */
function finalRules(spec: EngineSpec): Record<string, unknown>[] {
  return [
    { action: 'block', ip: NEVER_REACHABLE },
    ...(spec.reachableAddresses.length > 0 ? [{ action: 'allow', ip: [...spec.reachableAddresses].sort() }] : []),
    { action: 'block', ip: PRIVATE },
    { action: 'allow' },
  ];
}

function renderInbound(inbound: InboundSpec, family: ProxyFamily): ConfigInbound {
  const clients = inbound.users.map((user) => renderUser(inbound.protocol, user));
  return {
    tag: inbound.tag,
    listen: inbound.listen,
    port: inbound.port,
    protocol: inbound.protocol,
    settings: inbound.protocol === 'vless' ? { clients, decryption: 'none' } : { clients },
    streamSettings: {
      network: inbound.network,
      security: inbound.security,
      ...renderNetwork(inbound, family),
      ...renderSecurity(inbound),
    },
  };
}

/** One user as an inbound of this protocol takes it. */
export function renderUser(protocol: ProxyProtocol, user: { id: string; uuid: string; flow: string }): ConfigUser {
  const common = { email: user.id, level: 0 } as const;
  if (protocol === 'trojan') return { password: user.uuid, ...common };
  if (protocol === 'vmess') return { id: user.uuid, ...common, alterId: 0 };
  return { id: user.uuid, ...common, ...(user.flow === '' ? {} : { flow: user.flow }) };
}

function renderNetwork({ network, path, host }: InboundSpec, family: ProxyFamily): Record<string, unknown> {
  const hosted = host === '' ? { path } : { path, host };
  const settings: Record<ProxyNetwork, Record<string, unknown>> = {
    tcp: {},
    ws: { wsSettings: family === 'xray' ? hosted : { path } },
    grpc: { grpcSettings: { serviceName: path } },
    xhttp: { xhttpSettings: hosted },
    httpupgrade: { httpupgradeSettings: hosted },
  };
  return settings[network];
}

function renderSecurity({ certificate, reality }: InboundSpec): Record<string, unknown> {
  if (certificate !== null) {
    const entry =
      'certificateFile' in certificate
        ? { certificateFile: certificate.certificateFile, keyFile: certificate.keyFile }
        : { certificate: lines(certificate.certificatePem), key: lines(certificate.keyPem) };
    return { tlsSettings: { certificates: [entry] } };
  }
  if (reality === null) return {};
  return {
    realitySettings: {
      dest: reality.dest,
      serverNames: reality.serverNames,
      privateKey: reality.privateKey,
      shortIds: reality.shortIds,
      minClientVer: REALITY_MIN_CLIENT,
    },
  };
}

const lines = (pem: string): string[] => pem.trim().split(/\r?\n/);

/** All of a config but its users, to compare two. What differs here takes a new start. */
export function structureOf(config: EngineConfig): string {
  const inbounds = config.inbounds.map((inbound) =>
    inbound.settings.clients === undefined ? inbound : { ...inbound, settings: { ...inbound.settings, clients: [] } },
  );
  return JSON.stringify({ ...config, inbounds });
}

/** The users of each inbound by their id, each with its credentials as one text to compare. */
export function usersOf(config: EngineConfig): Map<string, Map<string, string>> {
  return new Map(
    config.inbounds
      .filter(({ settings }) => settings.clients !== undefined)
      .map(({ tag, settings }) => [tag, new Map(settings.clients!.map((user) => [user.email, credentialOf(user)]))]),
  );
}

/** A user's credentials as one text to compare. */
export function credentialOf(user: ConfigUser): string {
  return `${user.id ?? user.password} ${user.flow ?? ''}`;
}

/** The config with these users, each inbound's by id and credentials. */
export function withUsers(config: EngineConfig, users: ReadonlyMap<string, ReadonlyMap<string, string>>): EngineConfig {
  const inbounds = config.inbounds.map((inbound) => {
    if (inbound.settings.clients === undefined) return inbound;
    const clients = [...(users.get(inbound.tag) ?? [])].map(([id, credential]) => {
      const [uuid = '', flow = ''] = credential.split(' ');
      return renderUser(inbound.protocol as ProxyProtocol, { id, uuid, flow });
    });
    return { ...inbound, settings: { ...inbound.settings, clients } };
  });
  return { ...config, inbounds };
}

/** The config with those users alone whom the other one has under the same inbound. */
export function withoutStrangers(config: EngineConfig, wanted: EngineConfig): EngineConfig {
  const kept = usersOf(wanted);
  const inbounds = config.inbounds.map((inbound) => {
    const { clients } = inbound.settings;
    if (clients === undefined) return inbound;
    const stay = clients.filter((user) => kept.get(inbound.tag)?.get(user.email) === credentialOf(user));
    return { ...inbound, settings: { ...inbound.settings, clients: stay } };
  });
  return { ...config, inbounds };
}

/** The ports that clients come in by. */
export function portsOf(config: EngineConfig): number[] {
  return config.inbounds.flatMap(({ port }) => (port === undefined ? [] : [port]));
}

/** Reads a config of ours; null when it is none, as after an edit by hand. */
export function parseConfig(text: string): EngineConfig | null {
  try {
    const value = JSON.parse(text) as EngineConfig;
    // Both walk all that is relied on later.
    usersOf(value);
    structureOf(value);
    return value;
  } catch {
    return null;
  }
}

const SECRET_KEYS = new Set(['privateKey', 'key', 'id', 'password']);

/** A copy with all secrets masked. */
export function masked(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(masked);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [key, SECRET_KEYS.has(key) ? '********' : masked(inner)]),
  );
}
