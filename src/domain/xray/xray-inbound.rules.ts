import { isIP } from 'node:net';
import { domainToASCII } from 'node:url';
import type { ProxyCapability, ProxyFlow, ProxyNetwork, ProxyProtocol, ProxySecurity } from './proxy-engine.port.js';
import { xraySettingInvalid } from './xray.errors.js';

/** What an operator sets of the inbound. Texts are empty where there is nothing to say. */
export interface XrayInboundValues {
  /** Host in links; empty: the endpoint host of the settings. */
  serverHost: string;
  serverPort: number;
  inboundTag: string;
  protocol: ProxyProtocol;
  network: ProxyNetwork;
  /** ws, xhttp, httpupgrade: with its leading slash; grpc: the service name. */
  path: string;
  security: ProxySecurity;
  sni: string;
  fp: string;
  flow: ProxyFlow;
  /** Short id of reality: hex, an even number of digits, at most 16. */
  sid: string;
  /** `host:port` of the site that reality borrows. */
  dest: string;
  /** Absolute paths on the engine's host. */
  certificateFile: string;
  keyFile: string;
  /** The engine may be restarted when bytes of somebody cut off still move 30 s later. */
  restartToCut: boolean;
}

const PROTOCOLS = ['vless', 'vmess', 'trojan'];
const NETWORKS = ['tcp', 'ws', 'grpc', 'xhttp', 'httpupgrade'];
const SECURITIES = ['none', 'tls', 'reality'];
const FLOWS = ['', 'xtls-rprx-vision'];
const FINGERPRINTS = ['chrome', 'firefox', 'safari', 'ios', 'android', 'edge', '360', 'qq', 'random', 'randomized'];

const TAG = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/;
const PATH = /^\/[A-Za-z0-9\-._~!$&'()*+,;=:@%/?]{0,254}$/;
const SERVICE_NAME = /^[A-Za-z0-9][A-Za-z0-9_.\-/]{0,254}$/;
const FILE = /^\/[^\p{Cc}\p{Cs}]{1,1023}$/u;

/**
 * The values as they are stored, when they make sense together, whatever engine is at hand: what one setting leaves no
 * room for (a path with tcp, a flow without tls) is emptied. Throws `xray_setting_invalid`.
 */
export function checkedInbound(values: XrayInboundValues): XrayInboundValues {
  const one = (key: string, value: string, allowed: readonly string[]): void => {
    if (!allowed.includes(value)) throw xraySettingInvalid(key, `must be one of ${allowed.map(quoted).join(', ')}`);
  };
  one('protocol', values.protocol, PROTOCOLS);
  one('network', values.network, NETWORKS);
  one('security', values.security, SECURITIES);
  one('flow', values.flow, FLOWS);
  one('fp', values.fp, FINGERPRINTS);
  if (!Number.isInteger(values.serverPort) || values.serverPort < 1 || values.serverPort > 65_535) {
    throw xraySettingInvalid('server_port', 'must be a whole number from 1 to 65535');
  }
  if (!TAG.test(values.inboundTag)) {
    throw xraySettingInvalid(
      'inbound_tag',
      'must have 1 to 64 letters, digits or any of _ . - and begin with one of the first two',
    );
  }
  if (values.serverHost !== '' && !isHost(values.serverHost)) {
    throw xraySettingInvalid('server_host', 'must be a host name or an IP address');
  }
  if (values.sni !== '' && !isName(values.sni)) throw xraySettingInvalid('sni', 'must be a host name');
  if (values.security === 'reality') checkReality(values);
  for (const [key, file] of [
    ['certificate_file', values.certificateFile] as const,
    ['key_file', values.keyFile] as const,
  ]) {
    if (file !== '' && !FILE.test(file)) throw xraySettingInvalid(key, 'must be an absolute path');
  }
  if ((values.certificateFile === '') !== (values.keyFile === '')) {
    throw xraySettingInvalid('certificate_file', 'and key_file are given together');
  }
  return { ...values, path: checkedPath(values), flow: fittingFlow(values) };
}

/** What a new inbound is where nobody said otherwise: the safest that the engine knows. */
export function defaultInbound(capability: ProxyCapability, sid: string): XrayInboundValues {
  const reality = capability.securities.includes('reality');
  return {
    serverHost: '',
    serverPort: 443,
    inboundTag: 'vless-in',
    protocol: 'vless',
    network: 'tcp',
    path: '',
    security: reality ? 'reality' : 'none',
    sni: reality ? 'www.microsoft.com' : '',
    fp: 'chrome',
    flow: reality && capability.flows.includes('xtls-rprx-vision') ? 'xtls-rprx-vision' : '',
    sid,
    dest: reality ? 'www.microsoft.com:443' : '',
    certificateFile: '',
    keyFile: '',
    restartToCut: false,
  };
}

/** Why this engine cannot serve the inbound, as a sentence; null when it can. */
export function unfitFor(capability: ProxyCapability, values: XrayInboundValues): string | null {
  const engine = `${capability.family ?? 'The engine'}${capability.version === null ? '' : ` ${capability.version}`}`;
  if (!capability.protocols.includes(values.protocol)) return `${engine} cannot do protocol ${values.protocol}`;
  if (!capability.networks.includes(values.network)) return `${engine} cannot do network ${values.network}`;
  if (!capability.securities.includes(values.security)) return `${engine} cannot do security ${values.security}`;
  if (values.flow !== '' && !capability.flows.includes(values.flow)) return `${engine} cannot do flow ${values.flow}`;
  return null;
}

function checkReality(values: XrayInboundValues): void {
  if (values.protocol === 'vmess') throw xraySettingInvalid('security', 'reality needs protocol vless or trojan');
  if (!['tcp', 'grpc', 'xhttp'].includes(values.network)) {
    throw xraySettingInvalid('security', 'reality needs network tcp, grpc or xhttp');
  }
  if (!/^(?:[0-9a-f]{2}){0,8}$/.test(values.sid)) {
    throw xraySettingInvalid('sid', 'must be an even number of hex digits, at most 16, in lower case');
  }
  const [, host = '', port = ''] = /^(.+):(\d{1,5})$/.exec(values.dest) ?? [];
  if (!isHost(host.replace(/^\[(.*)\]$/, '$1')) || Number(port) < 1 || Number(port) > 65_535) {
    throw xraySettingInvalid('dest', 'must be host:port of a site with TLS 1.3');
  }
  if (values.sni === '') throw xraySettingInvalid('sni', 'must be the name of the site in dest');
}

function checkedPath(values: XrayInboundValues): string {
  if (values.network === 'tcp') return '';
  if (values.network === 'grpc') {
    const name = values.path.replace(/^\//, '');
    if (!SERVICE_NAME.test(name))
      throw xraySettingInvalid('path', 'must be a service name of letters, digits and _ . - /');
    return name;
  }
  const path = values.path.startsWith('/') ? values.path : `/${values.path}`;
  if (!PATH.test(path)) throw xraySettingInvalid('path', 'must be the path of a URL, at most 255 characters');
  return path;
}

function fittingFlow(values: XrayInboundValues): ProxyFlow {
  return values.protocol === 'vless' && values.network === 'tcp' && values.security !== 'none' ? values.flow : '';
}

function isHost(text: string): boolean {
  return isIP(text) !== 0 || isName(text);
}

function isName(text: string): boolean {
  const ascii = text.length <= 253 && !/[\s\p{Cc}]/u.test(text) ? domainToASCII(text) : '';
  return /^(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_-]{1,63})*$/i.test(ascii);
}

const quoted = (text: string): string => `"${text}"`;
