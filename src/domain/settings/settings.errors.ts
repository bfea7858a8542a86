import { DomainError } from '../domain-error.js';

export const settingUnknown = (key: string): DomainError =>
  new DomainError('invalid', 'setting_unknown', 'There is no such setting', { key });

/** `reason` is a sentence. */
export const settingReadOnly = (key: string, reason: string): DomainError =>
  new DomainError('invalid', 'setting_read_only', reason, { key });

/** The value itself is never repeated: it may be a secret. */
export const settingInvalid = (key: string, expects: string): DomainError =>
  new DomainError('invalid', 'setting_invalid', `${key} must be ${expects}.`, { key, expects });
