import { DomainError } from '../domain-error.js';

export const restartTargetUnknown = (known: readonly string[]): DomainError =>
  new DomainError('invalid', 'restart_target_unknown', `target must be one of ${known.join(', ')}`, { known });

export const restartUnsupervised = (): DomainError =>
  new DomainError(
    'conflict',
    'restart_unsupervised',
    'Nobody would start this server again: restart it by hand, or run it under a supervisor and set SUPERVISED=true',
  );
