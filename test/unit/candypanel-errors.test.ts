import { describe, expect, it } from 'vitest';
import { candypanel } from '../../src/dialects/candypanel/candypanel.errors.js';
import { toConfigError } from '../../src/dialects/candypanel/clients.mapper.js';
import { toSyncError } from '../../src/dialects/candypanel/sync.mapper.js';
import { clientNotFound } from '../../src/domain/clients/clients.errors.js';
import type { DomainError } from '../../src/domain/domain-error.js';
import { engineBusy, engineUnavailable } from '../../src/domain/engines/engines.errors.js';
import { DialectRegistry } from '../../src/http/dialect.registry.js';
import { ErrorRenderer } from '../../src/http/error.renderer.js';

const dialects = new DialectRegistry();
dialects.register(candypanel);
const renderer = new ErrorRenderer(dialects);

function say(error: unknown, answers = {}): { status: number; body: unknown } {
  const { status, body } = renderer.render(error as DomainError, { url: '/sync', requestId: 'request-7', answers });
  return { status, body };
}

describe('a sync that fails', () => {
  it('is 500 with the documented text and the reason', () => {
    expect(say(toSyncError(engineUnavailable('wireguard', 'wireguard-go does not answer')))).toEqual({
      status: 500,
      body: { detail: 'Synchronization failed: wireguard-go does not answer' },
    });
  });

  it('keeps to itself what is not fit for a caller, and names the request instead', () => {
    const error = toSyncError(new Error('password authentication failed for user causeway'));
    expect(say(error)).toEqual({
      status: 500,
      body: { detail: 'Synchronization failed: Internal server error, request request-7' },
    });
    expect((error as DomainError).cause).toBeInstanceOf(Error);
  });

  it('is no failure when another one is under way', () => {
    expect(say(toSyncError(engineBusy('wireguard', 'sync')), { engine_busy: 409 })).toEqual({
      status: 409,
      body: { detail: 'sync is under way already' },
    });
  });
});

describe('a config that is not there', () => {
  it('has a text of its own, and other failures keep theirs', () => {
    expect(say(toConfigError(clientNotFound('alice')))).toEqual({ status: 404, body: { detail: 'Client not found.' } });
    const other = engineUnavailable('wireguard', 'down');
    expect(toConfigError(other)).toBe(other);
  });
});
