import { createSecretKey, type KeyObject } from 'node:crypto';
import type { SecretBox } from '../../platform/crypto/secret-box.js';

export const TOKEN_ISSUER = 'causeway';
export const TOKEN_ALGORITHM = 'HS256';

/** What tokens are signed with. As a key object: from a Buffer, jsonwebtoken takes fifty times as long to verify. */
export function tokenKey(secretBox: SecretBox): KeyObject {
  return createSecretKey(secretBox.deriveKey('jwt'));
}
