import { DomainError } from '../domain-error.js';

export const userNotFound = (user: number | string): DomainError =>
  new DomainError('not_found', 'user_not_found', 'There is no such user', { user });

export const usernameTaken = (username: string): DomainError =>
  new DomainError('conflict', 'username_taken', 'A user of this name exists already', { username });

export const usernameInvalid = (reason: string): DomainError => new DomainError('invalid', 'username_invalid', reason);

export const passwordTooShort = (least: number): DomainError =>
  new DomainError('invalid', 'password_too_short', `The password needs ${least} characters or more`, { least });

export const passwordTooLong = (most: number): DomainError =>
  new DomainError('invalid', 'password_too_long', `The password may have ${most} characters at most`, { most });

/** Hashing has a bounded queue, and it is full. */
export const passwordsBusy = (): DomainError =>
  new DomainError('unavailable', 'passwords_busy', 'Too many passwords are being checked, try again in a moment', {
    retryAfterSeconds: 1,
  });

export const adminExists = (): DomainError => new DomainError('conflict', 'admin_exists', 'There is an admin already');

export const lastAdmin = (): DomainError =>
  new DomainError('conflict', 'last_admin', 'This is the last active admin: make another one first');

export const totpEnabledAlready = (): DomainError =>
  new DomainError('conflict', 'totp_enabled_already', 'Two-factor login is on already');

export const totpNotBegun = (): DomainError =>
  new DomainError('conflict', 'totp_not_begun', 'Two-factor login was not begun');

export const totpCodeWrong = (): DomainError => new DomainError('invalid', 'totp_code_wrong', 'The code is wrong');
