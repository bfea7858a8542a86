// magic (8), format (2), length of the head (4), head (JSON), chunks, end mark (8), SHA-256 of all before (32).
// A chunk: length with the top bit on the last one (4), AES-256-GCM ciphertext, tag (16). Numbers are big-endian.
import { createCipheriv, createDecipheriv, createHash } from 'node:crypto';
import { backupDamaged, backupNewer } from './backups.errors.js';
import type { WrappedKey } from './archive.keys.js';

export const MAGIC = Buffer.from('CAUSEWAY');
export const FORMAT = 1;
export const END_MARK = Buffer.from('BACKUP.\n');
export const CHECKSUM_BYTES = 32;
/** Compressed bytes in each chunk but the last. */
export const CHUNK_BYTES = 64 * 1024;

const TAG_BYTES = 16;
const PREFIX_BYTES = MAGIC.length + 2 + 4;
const LONGEST_HEAD = 64 * 1024;
const LAST_CHUNK = 0x8000_0000;

export type BackupScope = 'config' | 'full';
export type BackupReason = 'manual' | 'auto' | 'pre_restore';

/** What can be read of an archive without its key. It is authenticated together with the body. */
export interface ArchiveHead {
  createdAt: Date;
  scope: BackupScope;
  reason: BackupReason;
  installationId: string;
  /** The last migration of the database that it was made from. */
  schema: string;
  /** The data key, once for each secret that opens it. */
  keys: WrappedKey[];
}

/** Everything before the first chunk. */
export function encodeHead(head: ArchiveHead): Buffer {
  const json = Buffer.from(JSON.stringify({ ...head, compression: 'deflate' }));
  const prefix = Buffer.alloc(PREFIX_BYTES);
  MAGIC.copy(prefix);
  prefix.writeUInt16BE(FORMAT, MAGIC.length);
  prefix.writeUInt32BE(json.length, MAGIC.length + 2);
  return Buffer.concat([prefix, json]);
}

/**
 * The head at the start of a file, of which `start` is what fits into 128 kB, and where the chunks begin. Throws
 * `backup_damaged` and `backup_newer`.
 */
export function decodeHead(start: Buffer): { head: ArchiveHead; bodyAt: number } {
  if (start.length < PREFIX_BYTES || !start.subarray(0, MAGIC.length).equals(MAGIC)) {
    throw backupDamaged('it is not a backup of Causeway.');
  }
  const format = start.readUInt16BE(MAGIC.length);
  if (format > FORMAT) throw backupNewer(`the format ${format} of archives`);
  const bodyAt = PREFIX_BYTES + start.readUInt32BE(MAGIC.length + 2);
  if (format < 1 || bodyAt > PREFIX_BYTES + LONGEST_HEAD || bodyAt > start.length) throw headDamaged();
  return { head: parseHead(start.subarray(PREFIX_BYTES, bodyAt)), bodyAt };
}

/** Bytes of a file that hold its head, whatever its size. */
export const HEAD_READ_BYTES = PREFIX_BYTES + LONGEST_HEAD;

/** Seals or opens the chunks of one archive in their order. The data key is used for this one archive only. */
export class ChunkCipher {
  private count = 0n;
  private readonly associated: Buffer;

  /** @param encodedHead what `encodeHead` gave: a body never opens under another head. */
  constructor(
    private readonly dataKey: Buffer,
    encodedHead: Buffer,
  ) {
    this.associated = createHash('sha256').update(encodedHead).digest();
  }

  /** One chunk as it stands in the file. */
  seal(plain: Buffer, last: boolean): Buffer {
    const cipher = createCipheriv('aes-256-gcm', this.dataKey, this.nonce(last));
    cipher.setAAD(this.associated);
    const body = cipher.update(plain);
    cipher.final();
    const length = Buffer.alloc(4);
    length.writeUInt32BE((body.length + TAG_BYTES + (last ? LAST_CHUNK : 0)) >>> 0);
    return Buffer.concat([length, body, cipher.getAuthTag()]);
  }

  /** The content of a chunk whose length said `last`. Throws `backup_damaged`. */
  open(sealed: Buffer, last: boolean): Buffer {
    const tagAt = sealed.length - TAG_BYTES;
    try {
      const decipher = createDecipheriv('aes-256-gcm', this.dataKey, this.nonce(last), { authTagLength: TAG_BYTES });
      decipher.setAAD(this.associated);
      decipher.setAuthTag(sealed.subarray(tagAt));
      const plain = decipher.update(sealed.subarray(0, tagAt));
      decipher.final();
      return plain;
    } catch {
      throw backupDamaged('its content was altered.');
    }
  }

  /** Number and last mark in the nonce: chunks that change places or are left out do not open. */
  private nonce(last: boolean): Buffer {
    const nonce = Buffer.alloc(12);
    nonce[0] = last ? 1 : 0;
    nonce.writeBigUInt64BE(this.count, 4);
    this.count += 1n;
    return nonce;
  }
}

/** What the four bytes before a chunk say. Throws `backup_damaged`. */
export function chunkLength(bytes: Buffer): { length: number; last: boolean } {
  const value = bytes.readUInt32BE(0);
  const last = value >= LAST_CHUNK;
  const length = last ? value - LAST_CHUNK : value;
  if (length < TAG_BYTES || length > CHUNK_BYTES + TAG_BYTES) throw backupDamaged('its content was altered.');
  return { length, last };
}

function parseHead(json: Buffer): ArchiveHead {
  let value: Record<string, unknown>;
  try {
    value = JSON.parse(json.toString('utf8')) as Record<string, unknown>;
  } catch {
    throw headDamaged();
  }
  const { createdAt, scope, reason, installationId, schema, keys, compression } = value;
  const time = new Date(String(createdAt));
  const sound =
    !Number.isNaN(time.getTime()) &&
    (scope === 'config' || scope === 'full') &&
    (reason === 'manual' || reason === 'auto' || reason === 'pre_restore') &&
    typeof installationId === 'string' &&
    typeof schema === 'string' &&
    Array.isArray(keys) &&
    keys.every(isWrappedKey) &&
    compression === 'deflate';
  if (!sound) throw headDamaged();
  return { createdAt: time, scope, reason, installationId, schema, keys };
}

function isWrappedKey(value: unknown): value is WrappedKey {
  if (typeof value !== 'object' || value === null) return false;
  const { for: holder, wrapped, salt } = value as Record<string, unknown>;
  return (
    typeof holder === 'string' && typeof wrapped === 'string' && (holder !== 'passphrase' || typeof salt === 'string')
  );
}

function headDamaged() {
  return backupDamaged('its head cannot be read.');
}
