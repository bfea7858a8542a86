import { interfaceNotFound } from '../../domain/interfaces/interfaces.errors.js';
import type { InterfaceChange, InterfaceView, NewInterface } from '../../domain/interfaces/interfaces.service.js';
import type { InterfaceCreateRequest, InterfaceRecord, InterfaceUpdateRequest } from './interfaces.dto.js';

/** The number in `wg<number>`. Anything else names no interface: `interface_not_found`. */
export function toInterfaceNumber(name: string): number {
  const digits = /^wg(0|[1-9]\d{0,4})$/.exec(name)?.[1];
  if (digits === undefined) throw interfaceNotFound(name);
  return Number(digits);
}

export function toNewInterface(request: InterfaceCreateRequest): NewInterface {
  return { address: request.address_range, listenPort: request.port };
}

export function toInterfaceChange(request: InterfaceUpdateRequest): InterfaceChange {
  return {
    address: request.address ?? undefined,
    listenPort: request.port ?? undefined,
    enabled: request.status ?? undefined,
  };
}

export function toInterfaceRecord(view: InterfaceView): InterfaceRecord {
  return {
    address_range: view.address,
    port: view.listenPort,
    wg: view.number,
    private_key: view.privateKey,
    public_key: view.publicKey,
    status: view.enabled,
  };
}
