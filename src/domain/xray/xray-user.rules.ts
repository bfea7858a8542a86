import { xrayAliasInvalid, xrayEmailInvalid, xrayUserLimitInvalid } from './xray.errors.js';

const EMAIL = /^[^\s"'`${}<>@\p{Cc}\p{Cf}\p{Cs}]+@[^\s"'`${}<>@\p{Cc}\p{Cf}\p{Cs}]+$/u;
const MAX_BYTES = 2n ** 63n - 1n;

/** A user's email as it is stored and shown. Throws `xray_email_invalid`. */
export function checkedEmail(email: string): string {
  // Composing may change the length, and the composed one is what is stored.
  const composed = email.length <= 1024 ? email.normalize('NFC') : '';
  if (composed.length > 255 || !EMAIL.test(composed)) throw xrayEmailInvalid();
  return composed;
}

/** What makes emails the same: no two users share it. */
export function emailKey(email: string): string {
  return email.normalize('NFC').toLowerCase();
}

/** A display name; may be empty. Throws `xray_alias_invalid`. */
export function checkedAlias(alias: string): string {
  const clean = alias.length <= 1024 ? alias.normalize('NFC').trim() : null;
  if (clean === null || clean.length > 128 || /[\p{Cc}\p{Cs}\u2028\u2029]/u.test(clean)) throw xrayAliasInvalid();
  return clean;
}

/** A quota in bytes as the database takes it. Throws `xray_user_limit_invalid`. */
export function checkedTrafficLimit(bytes: string): string {
  if (!/^\d{1,19}$/.test(bytes) || BigInt(bytes) > MAX_BYTES) throw xrayUserLimitInvalid();
  return BigInt(bytes).toString();
}
