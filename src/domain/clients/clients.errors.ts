import { DomainError } from '../domain-error.js';

export const clientNotFound = (name: string): DomainError =>
  new DomainError('not_found', 'client_not_found', `Client '${name}' not found.`, { name });

export const clientExists = (name: string): DomainError =>
  new DomainError('conflict', 'client_exists', 'Client with this name already exists.', { name });

export const clientNameInvalid = (): DomainError =>
  new DomainError(
    'invalid',
    'client_name_invalid',
    'A client name has 1 to 64 letters, digits, spaces or any of _ - . @ + and neither starts nor ends with a space.',
  );

export const clientNoUpdate = (): DomainError =>
  new DomainError('invalid', 'client_no_update', 'No update data provided.');

export const clientNoAddress = (): DomainError =>
  new DomainError('conflict', 'client_no_address', 'No available IP addresses in the subnet.');

export const clientInterfaceMissing = (number: number): DomainError =>
  new DomainError('not_found', 'client_interface_missing', `WireGuard interface wg${number} not found.`, { number });

export const clientLimitInvalid = (): DomainError =>
  new DomainError(
    'invalid',
    'client_limit_invalid',
    'A traffic limit is a whole number of bytes from 0 (unlimited) to 9223372036854775807.',
  );

export const clientNoteInvalid = (): DomainError =>
  new DomainError('invalid', 'client_note_invalid', 'A note has at most 1000 characters and none of them is NUL.');
