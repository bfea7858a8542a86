import type { ClientView, CreatedClient } from '../../domain/clients/clients.service.js';
import { jsonInteger } from '../../http/json-integer.js';
import { formatUtc } from '../../platform/clock/clock.js';
import { qrPngDataUrl } from '../../platform/qr/qr-code.js';
import type { ClientDetails, ClientItem, CreatedClientItem } from './clients.dto.js';

export function toItem(client: ClientView): ClientItem {
  return {
    id: client.id,
    name: client.name,
    address: client.address,
    publicKey: client.publicKey,
    createdAt: formatUtc(client.createdAt),
    enabled: client.active,
  };
}

export function toDetails(client: ClientView): ClientDetails {
  return {
    ...toItem(client),
    transferRx: jsonInteger(client.rxBytes),
    transferTx: jsonInteger(client.txBytes),
    latestHandshakeAt: client.latestHandshakeAt && formatUtc(client.latestHandshakeAt),
  };
}

export function toCreated(client: CreatedClient): CreatedClientItem {
  return { ...toItem(client), configuration: client.config, qrcodeDataURL: qrPngDataUrl(client.config) };
}

/** wg-easy's rule for file names: what WireGuard applications take as the name of a tunnel. */
export function configFileName(name: string, id: string): string {
  const safe = name
    .replace(/[^a-zA-Z0-9_=+.-]/g, '-')
    .replace(/-{2,}/g, '-')
    .replace(/^-|-$/g, '')
    .slice(0, 32);
  return `${safe === '' ? id : safe}.conf`;
}
