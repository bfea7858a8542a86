import { DomainError } from '../domain-error.js';

export const interfaceNotFound = (name: string): DomainError =>
  new DomainError('not_found', 'interface_not_found', `Interface ${name} does not exist.`, { name });

export const interfaceRangeInvalid = (range: string): DomainError =>
  new DomainError(
    'invalid',
    'interface_range_invalid',
    `${JSON.stringify(range)} is not an IPv4 address with a prefix from 8 to 30, like 10.0.0.1/24.`,
    { range },
  );

export const interfacePortTaken = (port: number): DomainError =>
  new DomainError('conflict', 'interface_port_taken', `An interface with port ${port} already exists.`, { port });

export const interfaceRangeTaken = (range: string): DomainError =>
  new DomainError('conflict', 'interface_range_taken', `An interface with address range ${range} already exists.`, {
    range,
  });

export const interfaceRangeOverlaps = (range: string): DomainError =>
  new DomainError(
    'conflict',
    'interface_range_overlaps',
    `The address range ${range} overlaps the range of another interface.`,
    { range },
  );

export const interfaceRangeLeavesClients = (range: string, count: number): DomainError =>
  new DomainError(
    'conflict',
    'interface_range_leaves_clients',
    `${count} of the interface's clients have addresses that do not fit ${range}.`,
    { range, count },
  );

export const interfaceHasClients = (name: string, count: number): DomainError =>
  new DomainError(
    'conflict',
    'interface_has_clients',
    `Interface ${name} still has ${count} clients; delete them first or use ?force=true.`,
    { name, count },
  );

export const interfaceNoUpdate = (): DomainError =>
  new DomainError('invalid', 'interface_no_update', 'No update data provided.');

export const interfaceExists = (name: string): DomainError =>
  new DomainError('conflict', 'interface_exists', `Interface ${name} already exists.`, { name });
