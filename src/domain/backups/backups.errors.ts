import { DomainError } from '../domain-error.js';

export const backupNotFound = (filename: string): DomainError =>
  new DomainError('not_found', 'backup_not_found', 'There is no such backup.', { filename: filename.slice(0, 255) });

/** `reason` is a sentence about the file. */
export const backupDamaged = (reason: string): DomainError =>
  new DomainError('refused', 'backup_damaged', `The backup cannot be used: ${reason}`, { reason });

/** `what` is what this release does not know. */
export const backupNewer = (what: string): DomainError =>
  new DomainError('refused', 'backup_newer', `The backup was made by a newer release, which knows ${what}.`, { what });

export const backupKeyUnknown = (): DomainError =>
  new DomainError(
    'refused',
    'backup_key_unknown',
    'The backup was made with another SECRET_KEY: it opens with the recovery phrase of its installation, or with ' +
      'BACKUP_PASSPHRASE set to the one it was made with.',
  );

/** `reason` says what is wrong with the phrase and nothing of its words. */
export const backupPhraseWrong = (reason: string): DomainError =>
  new DomainError('refused', 'backup_key_unknown', `The backup does not open: ${reason}.`);

export const backupBusy = (): DomainError =>
  new DomainError('conflict', 'backup_busy', 'A backup or a restore is under way, or others are changing the same.');

export const backupPartUnknown = (part: string, known: readonly string[]): DomainError =>
  new DomainError('invalid', 'backup_part_unknown', `A part of a backup is one of ${known.join(', ')}.`, {
    part: part.slice(0, 64),
    known,
  });

export const backupDiskFull = (): DomainError =>
  new DomainError('unavailable', 'backup_disk_full', 'The disk has no room left for a backup.');

/** `code` is the system's, such as EACCES. */
export const backupStorageFailed = (code: string): DomainError =>
  new DomainError('unavailable', 'backup_storage_failed', `The folder of the backups cannot be used (${code}).`, {
    code,
  });

export const backupWithoutAdmin = (): DomainError =>
  new DomainError('conflict', 'backup_without_admin', 'The backup has no admin: its users would lock everybody out.');

/** `what` names what is unique and has another owner now. */
export const backupConflict = (what: string): DomainError =>
  new DomainError('conflict', 'backup_conflict', `The backup does not fit what is here now: ${what}.`, { what });
