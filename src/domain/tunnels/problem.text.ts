import { DomainError } from '../domain-error.js';
import { ForeignDeviceError, TunnelRefusedError, TunnelUnavailableError } from './tunnel.port.js';

/** What may be read by callers. Of what nobody expected only the log says more. */
export function problemText(error: unknown): string {
  const expected = [DomainError, ForeignDeviceError, TunnelRefusedError, TunnelUnavailableError];
  return expected.some((kind) => error instanceof kind)
    ? (error as Error).message
    : 'an unexpected failure, see the log of this server';
}
