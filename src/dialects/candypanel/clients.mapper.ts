import type { ClientChange, ClientWithKey, NewClient } from '../../domain/clients/clients.service.js';
import { DomainError } from '../../domain/domain-error.js';
import { jsonInteger } from '../../http/json-integer.js';
import { formatUtcBare } from '../../platform/clock/clock.js';
import { type ClientRecord, type ClientCreateRequest, NEVER, type ClientUpdateRequest } from './clients.dto.js';

export function toNewClient(request: ClientCreateRequest): NewClient {
  return {
    name: request.name,
    interfaceNumber: request.wg_id ?? 0,
    expiresAt: orNever(request.expires),
    trafficLimitBytes: request.traffic,
    note: request.note ?? '',
  };
}

export function toClientChange(request: ClientUpdateRequest): ClientChange {
  return {
    expiresAt: request.expires == null ? undefined : orNever(request.expires),
    trafficLimitBytes: request.traffic ?? undefined,
    enabled: request.status ?? undefined,
    note: request.note ?? undefined,
  };
}

export function toClientRecord(client: ClientWithKey): ClientRecord {
  return {
    name: client.name,
    expires: formatUtcBare(client.expiresAt ?? NEVER),
    traffic: client.trafficLimitBytes,
    wg_id: client.interfaceNumber,
    note: client.note,
    public_key: client.publicKey,
    private_key: client.privateKey,
    address: client.address,
    created_at: formatUtcBare(client.createdAt),
    // The server's directions are the client's the other way round.
    used_trafic: { download: jsonInteger(client.txBytes), upload: jsonInteger(client.rxBytes) },
    connected_now: client.connected,
    status: client.active,
  };
}

/** Whole seconds: a fraction of the last second of all time is still never. */
function orNever(date: Date | null): Date | null {
  return date === null || date.getTime() >= NEVER.getTime() ? null : date;
}

/** For a config the contract has a text of its own, without the name. */
export function toConfigError(error: unknown): unknown {
  if (!(error instanceof DomainError) || error.code !== 'client_not_found') return error;
  return new DomainError('not_found', 'client_config_not_found', 'Client not found.');
}
