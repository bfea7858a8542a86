import { createPrivateKey, createPublicKey, generateKeyPairSync, randomBytes } from 'node:crypto';

/** Keys travel as DER: exporting key objects as JWK dead-locks Node 20 when done many times. */
const PKCS8_PREFIX = Buffer.from('302e020100300506032b656e04220420', 'hex');
const KEY_BYTES = 32;
/** 32 bytes in standard base64: the last character before `=` carries four bits only. */
const WIREGUARD_KEY = /^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw480]=$/;

/** A fresh X25519 pair, both halves base64 as `wg genkey` and `wg pubkey` print them. Takes about 0.2 ms. */
export function generateKeyPair(): { privateKey: string; publicKey: string } {
  const pair = generateKeyPairSync('x25519', {
    privateKeyEncoding: { type: 'pkcs8', format: 'der' },
    publicKeyEncoding: { type: 'spki', format: 'der' },
  });
  return {
    privateKey: pair.privateKey.subarray(-KEY_BYTES).toString('base64'),
    publicKey: pair.publicKey.subarray(-KEY_BYTES).toString('base64'),
  };
}

/** The public half of a base64 private key. Throws a TypeError, without the key in it, when it is no such key. */
export function publicKeyOf(privateKey: string): string {
  if (!isWireguardKey(privateKey)) throw new TypeError('Not a WireGuard private key');
  const secret = Buffer.from(privateKey, 'base64');
  const key = createPrivateKey({ key: Buffer.concat([PKCS8_PREFIX, secret]), format: 'der', type: 'pkcs8' });
  return createPublicKey(key).export({ type: 'spki', format: 'der' }).subarray(-KEY_BYTES).toString('base64');
}

/** A fresh preshared key: 32 random bytes in base64. */
export function generatePresharedKey(): string {
  return randomBytes(KEY_BYTES).toString('base64');
}

/** Whether the text is a WireGuard key of any sort: 32 bytes in canonical, padded base64. */
export function isWireguardKey(text: string): boolean {
  return WIREGUARD_KEY.test(text);
}
