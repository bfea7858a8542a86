import {
  createCipheriv,
  createDecipheriv,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  hkdfSync,
  type KeyObject,
  randomBytes,
} from 'node:crypto';
import { generateMnemonic, mnemonicToEntropy } from '@scure/bip39';
import { wordlist } from '@scure/bip39/wordlists/english.js';

// Twelve BIP-39 words carry 128 random bits, so the key pair needs no slow derivation.
// wrapped: version (1), ephemeral public key (32), nonce (12), ciphertext, tag (16)
const VERSION = 1;
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const NONCE_AT = 1 + KEY_BYTES;
const BODY_AT = NONCE_AT + NONCE_BYTES;

// What stands before the 32 raw bytes in PKCS#8 and SPKI. JWK would be shorter, but its export can lock up Node 20.
const PKCS8_HEAD = Buffer.from('302e020100300506032b656e04220420', 'hex');
const SPKI_HEAD = Buffer.from('302a300506032b656e032100', 'hex');

/** The phrase is no phrase, or is not the one that a key was wrapped for. Says nothing of its words. */
export class RecoveryPhraseError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'RecoveryPhraseError';
  }
}

/** Twelve words for the operator, and the public key (32 bytes) to store. The words are shown once and kept nowhere. */
export function newRecoveryPhrase(): { phrase: string; publicKey: Buffer } {
  const phrase = generateMnemonic(wordlist, 128);
  return { phrase, publicKey: recoveryPublicKey(phrase) };
}

/** The public key (32 bytes) of a phrase; capitals and white space do not matter. Throws RecoveryPhraseError. */
export function recoveryPublicKey(phrase: string): Buffer {
  return rawPublicKey(privateKeyOf(phrase));
}

/** Encrypts a data key so that only the phrase behind `publicKey` gets it back (ephemeral X25519, HKDF, AES-256-GCM). */
export function wrapForRecovery(publicKey: Buffer, dataKey: Buffer): Buffer {
  const ephemeral = privateKeyFrom(randomBytes(KEY_BYTES));
  const ephemeralPublic = rawPublicKey(ephemeral);
  const nonce = randomBytes(NONCE_BYTES);
  const key = sharedKey(ephemeral, publicKey, ephemeralPublic, publicKey);
  const cipher = createCipheriv('aes-256-gcm', key, nonce);
  const body = cipher.update(dataKey);
  cipher.final();
  return Buffer.concat([Buffer.from([VERSION]), ephemeralPublic, nonce, body, cipher.getAuthTag()]);
}

/** The data key of `wrapForRecovery`. Throws RecoveryPhraseError on another phrase or a damaged value. */
export function unwrapWithPhrase(phrase: string, wrapped: Buffer): Buffer {
  const privateKey = privateKeyOf(phrase);
  if (wrapped.length < BODY_AT + TAG_BYTES || wrapped[0] !== VERSION) {
    throw new RecoveryPhraseError('This is not a key wrapped for a recovery phrase');
  }
  const ephemeralPublic = wrapped.subarray(1, NONCE_AT);
  const tagAt = wrapped.length - TAG_BYTES;
  try {
    const key = sharedKey(privateKey, ephemeralPublic, ephemeralPublic, rawPublicKey(privateKey));
    const decipher = createDecipheriv('aes-256-gcm', key, wrapped.subarray(NONCE_AT, BODY_AT), {
      authTagLength: TAG_BYTES,
    });
    decipher.setAuthTag(wrapped.subarray(tagAt));
    const dataKey = decipher.update(wrapped.subarray(BODY_AT, tagAt));
    decipher.final();
    return dataKey;
  } catch {
    throw new RecoveryPhraseError('This is another installation’s recovery phrase, or the wrapped key is damaged');
  }
}

function privateKeyOf(phrase: string): KeyObject {
  const words = phrase.normalize('NFKD').trim().toLowerCase().split(/\s+/);
  if (words.length !== 12)
    throw new RecoveryPhraseError(`A recovery phrase has 12 words, this one has ${words.length}`);
  let entropy: Uint8Array;
  try {
    entropy = mnemonicToEntropy(words.join(' '), wordlist);
  } catch {
    throw new RecoveryPhraseError('A word of the recovery phrase is mistyped, or two stand in the wrong order');
  }
  return privateKeyFrom(Buffer.from(hkdfSync('sha256', entropy, 'causeway', 'recovery-phrase', KEY_BYTES)));
}

function sharedKey(privateKey: KeyObject, peer: Buffer, ephemeralPublic: Buffer, recipientPublic: Buffer): Buffer {
  const secret = diffieHellman({ privateKey, publicKey: publicKeyFrom(peer) });
  const salt = Buffer.concat([ephemeralPublic, recipientPublic]);
  return Buffer.from(hkdfSync('sha256', secret, salt, 'recovery-wrap', 32));
}

function privateKeyFrom(raw: Buffer): KeyObject {
  return createPrivateKey({ key: Buffer.concat([PKCS8_HEAD, raw]), format: 'der', type: 'pkcs8' });
}

function publicKeyFrom(raw: Buffer): KeyObject {
  return createPublicKey({ key: Buffer.concat([SPKI_HEAD, raw]), format: 'der', type: 'spki' });
}

function rawPublicKey(privateKey: KeyObject): Buffer {
  return createPublicKey(privateKey).export({ format: 'der', type: 'spki' }).subarray(-KEY_BYTES);
}
