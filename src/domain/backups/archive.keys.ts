import { createCipheriv, createDecipheriv, randomBytes, scrypt } from 'node:crypto';
import { RecoveryPhraseError, unwrapWithPhrase, wrapForRecovery } from '../../platform/crypto/recovery-phrase.js';
import { type SecretBox, SecretBoxError } from '../../platform/crypto/secret-box.js';
import { backupDamaged, backupKeyUnknown, backupPhraseWrong } from './backups.errors.js';

/** The data key of an archive, sealed for one secret. Bytes are base64. */
export type WrappedKey =
  | { for: 'secret_key'; wrapped: string }
  | { for: 'recovery_phrase'; wrapped: string }
  | { for: 'passphrase'; salt: string; wrapped: string };

/** What an archive is made to open with. */
export interface KeyHolders {
  secretBox: SecretBox;
  /** X25519, 32 bytes: of the recovery phrase. */
  recoveryPublicKey: Buffer;
  /** BACKUP_PASSPHRASE. */
  passphrase: string | null;
}

const SEAL_LABEL = 'backups/data-key';
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
// 64 MB and about a third of a second for each guess: people choose passphrases.
const SCRYPT = { N: 2 ** 16, r: 8, p: 1, maxmem: 128 * 1024 * 1024 };

export async function wrapDataKey(dataKey: Buffer, holders: KeyHolders): Promise<WrappedKey[]> {
  const keys: WrappedKey[] = [
    { for: 'secret_key', wrapped: holders.secretBox.seal(SEAL_LABEL, dataKey).toString('base64') },
    { for: 'recovery_phrase', wrapped: wrapForRecovery(holders.recoveryPublicKey, dataKey).toString('base64') },
  ];
  if (holders.passphrase !== null) keys.push(await wrapForPassphrase(holders.passphrase, dataKey));
  return keys;
}

/**
 * The data key: by the recovery phrase when there is one, else by this installation's keys or passphrase. Throws
 * `backup_key_unknown`, `backup_damaged`.
 */
export async function unwrapDataKey(
  keys: readonly WrappedKey[],
  secrets: { secretBox: SecretBox; passphrase: string | null; phrase?: string | undefined },
): Promise<Buffer> {
  if (secrets.phrase !== undefined) return byPhrase(keys, secrets.phrase);
  const own = keys.find((key) => key.for === 'secret_key');
  if (own) {
    try {
      return secrets.secretBox.openBytes(SEAL_LABEL, Buffer.from(own.wrapped, 'base64'));
    } catch (error) {
      if (!(error instanceof SecretBoxError)) throw error;
      if (error.fault !== 'unknown_key') throw backupDamaged('its key was altered.');
    }
  }
  const protectedKey = keys.find((key) => key.for === 'passphrase');
  if (protectedKey && secrets.passphrase !== null) {
    const dataKey = await byPassphrase(protectedKey, secrets.passphrase);
    if (dataKey) return dataKey;
  }
  throw backupKeyUnknown();
}

function byPhrase(keys: readonly WrappedKey[], phrase: string): Buffer {
  const wrapped = keys.find((key) => key.for === 'recovery_phrase');
  if (!wrapped) throw backupKeyUnknown();
  try {
    return unwrapWithPhrase(phrase, Buffer.from(wrapped.wrapped, 'base64'));
  } catch (error) {
    if (error instanceof RecoveryPhraseError) throw backupPhraseWrong(error.message);
    throw error;
  }
}

async function wrapForPassphrase(passphrase: string, dataKey: Buffer): Promise<WrappedKey> {
  const salt = randomBytes(16);
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv('aes-256-gcm', await stretch(passphrase, salt), nonce);
  const body = cipher.update(dataKey);
  cipher.final();
  const wrapped = Buffer.concat([nonce, body, cipher.getAuthTag()]);
  return { for: 'passphrase', salt: salt.toString('base64'), wrapped: wrapped.toString('base64') };
}

async function byPassphrase(key: WrappedKey & { for: 'passphrase' }, passphrase: string): Promise<Buffer | null> {
  const bytes = Buffer.from(key.wrapped, 'base64');
  const tagAt = bytes.length - TAG_BYTES;
  const stretched = await stretch(passphrase, Buffer.from(key.salt, 'base64'));
  try {
    const decipher = createDecipheriv('aes-256-gcm', stretched, bytes.subarray(0, NONCE_BYTES), {
      authTagLength: TAG_BYTES,
    });
    decipher.setAuthTag(bytes.subarray(tagAt));
    const dataKey = decipher.update(bytes.subarray(NONCE_BYTES, tagAt));
    decipher.final();
    return dataKey;
  } catch {
    return null;
  }
}

/** Off the event loop. */
function stretch(passphrase: string, salt: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    scrypt(passphrase.normalize('NFKC'), salt, 32, SCRYPT, (error, key) => (error ? reject(error) : resolve(key)));
  });
}
