import { domainToASCII } from 'node:url';
import type { ProxyFlow, ProxyNetwork, ProxyProtocol, ProxySecurity } from './proxy-engine.port.js';

/** What a client needs to know to connect. */
export interface ShareLinkParts {
  protocol: ProxyProtocol;
  /** The password with trojan. */
  uuid: string;
  /** Name or address, an IPv6 address without brackets. */
  host: string;
  port: number;
  network: ProxyNetwork;
  /** ws, xhttp, httpupgrade: the path; grpc: the service name; tcp: empty. */
  path: string;
  security: ProxySecurity;
  /** Empty: the host. */
  sni: string;
  fingerprint: string;
  flow: ProxyFlow;
  /** Those of reality. */
  publicKey: string;
  shortId: string;
  /** The name that clients show. */
  remark: string;
}

/** The link that clients import: VLESS and Trojan as a URI, VMess as base64 of JSON, as the field writes them. */
export function shareLink(parts: ShareLinkParts): string {
  return parts.protocol === 'vmess' ? vmessLink(parts) : uriLink(parts);
}

function uriLink(parts: ShareLinkParts): string {
  const query: [name: string, value: string][] = [];
  if (parts.protocol === 'vless') query.push(['encryption', 'none']);
  query.push(['type', parts.network], ['security', parts.security]);
  query.push(...transport(parts));
  if (parts.security !== 'none') {
    query.push(['sni', parts.sni || asciiHost(parts.host)], ['fp', parts.fingerprint || 'chrome']);
  }
  if (parts.security === 'reality') query.push(['pbk', parts.publicKey], ['sid', parts.shortId], ['spx', '/']);
  if (parts.flow !== '') query.push(['flow', parts.flow]);
  const text = query.map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join('&');
  const host = parts.host.includes(':') ? `[${parts.host}]` : asciiHost(parts.host);
  return `${parts.protocol}://${parts.uuid}@${host}:${parts.port}?${text}#${encodeURIComponent(parts.remark)}`;
}

function transport(parts: ShareLinkParts): [name: string, value: string][] {
  if (parts.network === 'tcp') return [];
  if (parts.network === 'grpc')
    return [
      ['serviceName', parts.path],
      ['mode', 'gun'],
    ];
  return [['path', parts.path || '/'], ...(parts.network === 'xhttp' ? [['mode', 'auto'] as [string, string]] : [])];
}

function vmessLink(parts: ShareLinkParts): string {
  const secure = parts.security !== 'none';
  const json = JSON.stringify({
    v: '2',
    ps: parts.remark,
    add: asciiHost(parts.host),
    port: String(parts.port),
    id: parts.uuid,
    aid: '0',
    scy: 'auto',
    net: parts.network,
    type: parts.network === 'grpc' ? 'gun' : 'none',
    host: '',
    path: parts.network === 'tcp' ? '' : parts.path,
    tls: secure ? parts.security : '',
    sni: secure ? parts.sni || asciiHost(parts.host) : '',
    alpn: '',
    fp: secure ? parts.fingerprint : '',
  });
  return `vmess://${Buffer.from(json, 'utf8').toString('base64')}`;
}

/** Punycode for names of other scripts; addresses stay. */
function asciiHost(host: string): string {
  return host.includes(':') ? host : domainToASCII(host) || host;
}
