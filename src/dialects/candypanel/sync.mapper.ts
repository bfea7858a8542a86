import { DomainError } from '../../domain/domain-error.js';

/** The contract has one answer to a sync that failed: 500 with the reason. That one is under way is no failure. */
export function toSyncError(error: unknown): unknown {
  if (!(error instanceof DomainError)) return syncFailed(error);
  return error.code === 'engine_busy' ? error : syncFailed(error, error.message);
}

/** Without a reason that is fit for a caller's eyes, the text names the request to look for in the log. */
function syncFailed(cause: unknown, reason?: string): DomainError {
  return new DomainError('internal', 'sync_failed', 'Synchronization failed', { reason }, { cause });
}
