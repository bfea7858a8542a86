import type { XrayInboundChange, XrayInboundView } from '../../domain/xray/xray-inbounds.service.js';
import type { XraySettingsChange, XraySettingsView } from '../../domain/xray/xray-settings.service.js';
import type {
  XrayInboundSettings,
  XrayInboundSettingsChange,
  XraySettingsDocument,
  XraySettingsUpdateRequest,
} from './settings.dto.js';

export function toSettingsDocument({ ui, xray, collector }: XraySettingsView): XraySettingsDocument {
  return { ui, xray: xray === null ? {} : toInboundSettings(xray), collector };
}

export function toSettingsChange({ ui, xray, collector }: XraySettingsUpdateRequest): XraySettingsChange {
  return {
    ui: ui ?? undefined,
    xray: xray == null ? undefined : toInboundChange(xray),
    collector:
      collector == null
        ? undefined
        : {
            ...(collector.enabled == null ? {} : { enabled: collector.enabled }),
            ...(collector.script == null ? {} : { script: collector.script }),
          },
  };
}

function toInboundSettings(inbound: XrayInboundView): XrayInboundSettings {
  return {
    server_host: inbound.serverHost,
    server_port: inbound.serverPort,
    inbound_tag: inbound.inboundTag,
    protocol: inbound.protocol,
    network: inbound.network,
    path: inbound.path,
    security: inbound.security,
    sni: inbound.sni,
    fp: inbound.fp,
    flow: inbound.flow,
    sid: inbound.sid,
    dest: inbound.dest,
    certificate_file: inbound.certificateFile,
    key_file: inbound.keyFile,
    has_certificate: inbound.hasCertificate,
    reality_pbk: inbound.realityPublicKey,
    restart_to_cut: inbound.restartToCut,
  };
}

function toInboundChange(change: XrayInboundSettingsChange): XrayInboundChange {
  const values = {
    serverHost: change.server_host,
    serverPort: change.server_port,
    inboundTag: change.inbound_tag,
    protocol: change.protocol,
    network: change.network,
    path: change.path,
    security: change.security,
    sni: change.sni,
    fp: change.fp,
    flow: change.flow,
    sid: change.sid,
    dest: change.dest,
    certificateFile: change.certificate_file,
    keyFile: change.key_file,
    certificatePem: change.certificate,
    keyPem: change.key,
    restartToCut: change.restart_to_cut,
  };
  // Null says the same as a field that is left out.
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value != null));
}
