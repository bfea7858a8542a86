import { randomBytes } from 'node:crypto';

/** A random text that fits in URLs, headers and file names; 32 bytes give 43 characters, 9 bytes give 12. */
export function randomToken(bytes = 32): string {
  return randomBytes(bytes).toString('base64url');
}
