import { BlockList, isIP } from 'node:net';
import { isAbsolute } from 'node:path';
import {
  type EngineSpec,
  type InboundSpec,
  type ProxyCapability,
  ProxyRefusedError,
  type ProxyUserSpec,
  type RealitySpec,
} from '../../domain/xray/proxy-engine.port.js';
import { API_TAG, NEVER_REACHABLE } from './engine.config.js';

const TAG = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/;
const USER_ID = /^[a-z0-9][a-z0-9_-]{0,63}$/;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const HOST_NAME = /^(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,62}))*$/;
const URL_PATH = /^\/[!-~]{0,254}$/;
const SERVICE_NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/;
const SHORT_ID = /^([0-9a-f]{2}){0,8}$/;
const REALITY_KEY = /^[A-Za-z0-9_-]{43}$/;
const CONTROL = /[\x00-\x1f\x7f]/;

const neverReachable = new BlockList();
for (const range of NEVER_REACHABLE) {
  const [address, prefix] = range.split('/') as [string, string];
  neverReachable.addSubnet(address, Number(prefix), address.includes(':') ? 'ipv6' : 'ipv4');
}

/** Throws ProxyRefusedError when the spec is malformed or asks for what the engine cannot do. */
export function assertSpec(spec: EngineSpec, capability: ProxyCapability): void {
  const tags = new Set<string>();
  const places = new Set<string>();
  for (const inbound of spec.inbounds) {
    assertInbound(inbound, capability);
    if (tags.has(inbound.tag)) refuse(`Two inbounds are called ${inbound.tag}`);
    tags.add(inbound.tag);
    const place = `${inbound.listen} ${inbound.port}`;
    if (places.has(place)) refuse(`Two inbounds have the port ${inbound.port}`);
    places.add(place);
  }
  if (spec.accessLogPath !== null && (!isAbsolute(spec.accessLogPath) || CONTROL.test(spec.accessLogPath))) {
    refuse('The path of the access log is not valid');
  }
  for (const address of spec.reachableAddresses) {
    const version = isIP(address);
    if (version === 0 || neverReachable.check(address, version === 4 ? 'ipv4' : 'ipv6')) {
      refuse(`${printable(address)} is no address that clients may reach`);
    }
  }
}

function assertInbound(inbound: InboundSpec, capability: ProxyCapability): void {
  const { tag, protocol, network, security } = inbound;
  if (!TAG.test(tag) || tag === API_TAG) refuse('The tag of an inbound is not valid');
  if (isIP(inbound.listen) === 0) refuse(`${tag} listens on an address that is not valid`);
  if (!Number.isInteger(inbound.port) || inbound.port < 1 || inbound.port > 65_535) refuse(`${tag} has no valid port`);
  const engine = nameOf(capability);
  if (!capability.protocols.includes(protocol)) refuse(`${engine} has no protocol ${printable(protocol)}`);
  if (!capability.networks.includes(network)) refuse(`${engine} has no network ${printable(network)}`);
  if (!capability.securities.includes(security)) refuse(`${engine} has no security ${printable(security)}`);
  assertPath(inbound);
  if (inbound.host !== '') {
    if (network === 'tcp' || network === 'grpc') refuse(`The network ${network} has no host`);
    if (capability.family === 'v2ray') refuse(`${engine} does not check the host of a request`);
    if (!HOST_NAME.test(inbound.host)) refuse('The host is not valid');
  }
  if ((inbound.certificate !== null) !== (security === 'tls')) refuse('A certificate belongs to the security tls');
  if ((inbound.reality !== null) !== (security === 'reality')) refuse('REALITY keys belong to the security reality');
  if (inbound.certificate !== null) assertCertificate(inbound.certificate);
  if (inbound.reality !== null) {
    if (!['tcp', 'xhttp', 'grpc'].includes(network)) refuse(`reality does not work over ${network}`);
    if (protocol === 'vmess') refuse('reality does not work with vmess');
    assertReality(inbound.reality);
  }
  assertUsers(inbound, inbound.users, capability);
}

/** Throws ProxyRefusedError unless these users fit the inbound: an account of another kind would kill the engine. */
export function assertUsers(
  inbound: Pick<InboundSpec, 'tag' | 'protocol' | 'network' | 'security'>,
  users: readonly ProxyUserSpec[],
  capability: ProxyCapability,
): void {
  const ids = new Set<string>();
  const uuids = new Set<string>();
  for (const { id, uuid, flow } of users) {
    assertUserId(id);
    if (!UUID.test(uuid)) refuse(`The UUID of ${id} is not valid`);
    if (ids.has(id) || uuids.has(uuid.toLowerCase())) refuse(`${inbound.tag} has ${id} or its UUID twice`);
    ids.add(id);
    uuids.add(uuid.toLowerCase());
    if (flow !== '') assertFlow(inbound, flow, capability);
  }
}

export function assertUserId(id: string): void {
  if (!USER_ID.test(id)) refuse('The id of a user is not valid');
}

function assertFlow(
  { protocol, network, security }: Pick<InboundSpec, 'protocol' | 'network' | 'security'>,
  flow: Exclude<ProxyUserSpec['flow'], ''>,
  capability: ProxyCapability,
): void {
  if (!capability.flows.includes(flow)) refuse(`${nameOf(capability)} has no flow ${printable(flow)}`);
  if (protocol !== 'vless' || network !== 'tcp' || security === 'none') {
    refuse(`The flow ${flow} takes vless over tcp with tls or reality`);
  }
}

function assertPath({ network, path }: InboundSpec): void {
  if (network === 'tcp' ? path === '' : network === 'grpc' ? SERVICE_NAME.test(path) : URL_PATH.test(path)) return;
  refuse(network === 'tcp' ? 'The network tcp has no path' : `The path does not suit the network ${network}`);
}

function assertCertificate(certificate: NonNullable<InboundSpec['certificate']>): void {
  if ('certificateFile' in certificate) {
    for (const path of [certificate.certificateFile, certificate.keyFile]) {
      if (!isAbsolute(path) || CONTROL.test(path)) refuse('The path of a certificate or key is not valid');
    }
  } else if (!certificate.certificatePem.includes('-----BEGIN ') || !certificate.keyPem.includes('-----BEGIN ')) {
    refuse('The certificate and its key must be PEM text');
  }
}

function assertReality({ privateKey, dest, serverNames, shortIds }: RealitySpec): void {
  if (!REALITY_KEY.test(privateKey)) refuse('The REALITY key is not valid');
  const [, host = '', port = ''] = /^(.+):(\d{1,5})$/.exec(dest) ?? [];
  const named = HOST_NAME.test(host) || isIP(host.replace(/^\[(.+)\]$/, '$1')) !== 0;
  if (!named || Number(port) < 1 || Number(port) > 65_535) refuse('The REALITY dest must be host:port');
  if (serverNames.length === 0 || !serverNames.every((name) => HOST_NAME.test(name))) {
    refuse('The REALITY server names are not valid');
  }
  if (shortIds.length === 0 || !shortIds.every((id) => SHORT_ID.test(id))) {
    refuse('A REALITY short id is hex of an even length up to 16');
  }
}

function nameOf({ family, version }: ProxyCapability): string {
  return `${family === 'xray' ? 'Xray' : 'V2Ray'}${version === null ? '' : ` ${version}`}`;
}

const printable = (text: string): string => JSON.stringify(text).slice(0, 80);

function refuse(message: string): never {
  throw new ProxyRefusedError(message);
}
