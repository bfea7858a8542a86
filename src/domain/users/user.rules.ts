import { hashPassword, PasswordsBusyError, verifyPassword, wasteVerify } from '../../platform/crypto/passwords.js';
import { passwordsBusy, passwordTooLong, passwordTooShort, usernameInvalid } from './users.errors.js';

export const MIN_PASSWORD_LENGTH = 8;
export const MAX_PASSWORD_LENGTH = 1024;

/** Throws `username_invalid`. Names that the event log gives to others are not to be had. */
export function checkUsername(username: string): void {
  if (username.length < 1 || username.length > 150) throw usernameInvalid('A user name has 1 to 150 characters');
  if (username !== username.trim() || /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u.test(username)) {
    throw usernameInvalid('A user name has no control characters, and no space at its ends');
  }
  if (/^(system$|token:)/i.test(username)) throw usernameInvalid('This user name is reserved');
}

/** Throws `password_too_short` or `password_too_long`; `allowWeak` lets any password of one character or more pass. */
export function checkPassword(password: string, allowWeak: boolean): void {
  const least = allowWeak ? 1 : MIN_PASSWORD_LENGTH;
  if (password.length < least) throw passwordTooShort(least);
  if (password.length > MAX_PASSWORD_LENGTH) throw passwordTooLong(MAX_PASSWORD_LENGTH);
}

export function isWeak(password: string): boolean {
  return password.length < MIN_PASSWORD_LENGTH;
}

/** Throws `passwords_busy`. */
export function passwordHash(password: string): Promise<string> {
  return orBusy(hashPassword(password));
}

/** Takes equally long whether there is a user or not. Throws `passwords_busy`. */
export async function isPasswordOf(user: { passwordHash: string } | null, password: string): Promise<boolean> {
  // A text that no password can be is looked at like any other, but not hashed at length.
  const attempt = password.slice(0, MAX_PASSWORD_LENGTH + 1);
  return orBusy(user ? verifyPassword(user.passwordHash, attempt) : wasteVerify(attempt));
}

async function orBusy<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw error instanceof PasswordsBusyError ? passwordsBusy() : error;
  }
}
