import type { ProxyCapability, ProxyFamily, ProxyNetwork } from '../../domain/xray/proxy-engine.port.js';
import { confinesDatagrams } from './engine.config.js';
import { isAtLeast } from './engine.program.js';

/** What an engine of this family and version can do; without a version, what those of today can. */
export function capabilityOf(family: ProxyFamily, version: string | null, external = false): ProxyCapability {
  const isXray = family === 'xray';
  const since = (...wanted: number[]): boolean => version === null || isAtLeast(version, ...wanted);
  const networks: ProxyNetwork[] = ['tcp', 'ws'];
  if (isXray || since(4, 36)) networks.push('grpc');
  if (isXray && since(24, 11)) networks.push('xhttp');
  if (isXray && since(1, 8, 9)) networks.push('httpupgrade');
  const name = `${isXray ? 'Xray' : 'V2Ray'}${version === null ? '' : ` ${version}`}`;
  // An external engine's rules are its operator's.
  const blocksUdp = version !== null && !external && !confinesDatagrams({ family, version });
  return {
    family,
    version,
    external,
    protocols: ['vless', 'vmess', 'trojan'],
    networks,
    securities: isXray ? ['none', 'tls', 'reality'] : ['none', 'tls'],
    flows: isXray ? ['xtls-rprx-vision'] : [],
    onlineUsers: isXray && since(26, 1),
    message: external
      ? `${name} answers at XRAY_API`
      : blocksUdp
        ? `${name} is installed. UDP is blocked: before 26.5.3 clients could reach this host by it`
        : `${name} is installed`,
    hint: blocksUdp ? 'Install Xray 26.5.3 or later' : null,
  };
}

/** There is no engine. */
export function lackOf(message: string, hint: string | null, external = false): ProxyCapability {
  return {
    family: null,
    version: null,
    external,
    protocols: [],
    networks: [],
    securities: [],
    flows: [],
    onlineUsers: false,
    message,
    hint,
  };
}
