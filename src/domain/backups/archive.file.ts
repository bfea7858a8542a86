import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { pipeline, Readable } from 'node:stream';
import { createInflate } from 'node:zlib';
import { DomainError } from '../domain-error.js';
import {
  type ArchiveHead,
  CHECKSUM_BYTES,
  ChunkCipher,
  chunkLength,
  decodeHead,
  END_MARK,
  HEAD_READ_BYTES,
} from './archive.format.js';
import { backupDamaged } from './backups.errors.js';

const BLOCK_BYTES = 1024 * 1024;

/** One archive that was read to its end once and found whole. Keeps its file open, whatever becomes of the name. */
export class ArchiveFile {
  private constructor(
    private readonly handle: FileHandle,
    readonly head: ArchiveHead,
    private readonly encodedHead: Buffer,
    /** Where the end mark begins. */
    private readonly bodyEnd: number,
  ) {}

  /** Opens and checks a file. Throws `backup_damaged`, `backup_newer`, and what the system says. */
  static async open(path: string): Promise<ArchiveFile> {
    const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
    try {
      const start = await readUpTo(handle, 0, HEAD_READ_BYTES);
      const { head, bodyAt } = decodeHead(start);
      const { size } = await handle.stat();
      const bodyEnd = size - CHECKSUM_BYTES - END_MARK.length;
      if (bodyEnd < bodyAt) throw backupDamaged('it was cut short.');
      await verify(handle, bodyEnd);
      return new ArchiveFile(handle, head, start.subarray(0, bodyAt), bodyEnd);
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  close(): Promise<void> {
    return this.handle.close();
  }

  /** The content, decrypted and unpacked. Throws `backup_damaged`; what came before that is authentic. */
  async *body(dataKey: Buffer): AsyncGenerator<Buffer> {
    const inflate = createInflate();
    // Its errors come out of the loop below.
    pipeline(Readable.from(this.chunks(dataKey), { objectMode: false }), inflate, () => undefined);
    try {
      for await (const piece of inflate) yield piece as Buffer;
    } catch (error) {
      throw error instanceof DomainError ? error : backupDamaged('its content cannot be unpacked.');
    } finally {
      inflate.destroy();
    }
  }

  private async *chunks(dataKey: Buffer): AsyncGenerator<Buffer> {
    const cipher = new ChunkCipher(dataKey, this.encodedHead);
    let at = this.encodedHead.length;
    for (let done = false; !done;) {
      const { length, last } = chunkLength(await this.read(at, 4));
      yield cipher.open(await this.read(at + 4, length), last);
      at += 4 + length;
      done = last;
    }
    if (at !== this.bodyEnd) throw backupDamaged('its content was altered.');
  }

  private async read(at: number, length: number): Promise<Buffer> {
    if (at + length > this.bodyEnd) throw backupDamaged('it was cut short.');
    const bytes = await readUpTo(this.handle, at, length);
    if (bytes.length < length) throw backupDamaged('it was cut short.');
    return bytes;
  }
}

/** The head of a file alone, without a look at the rest. Throws as `ArchiveFile.open`. */
export async function readHead(path: string): Promise<ArchiveHead> {
  const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    return decodeHead(await readUpTo(handle, 0, HEAD_READ_BYTES)).head;
  } finally {
    await handle.close();
  }
}

async function verify(handle: FileHandle, bodyEnd: number): Promise<void> {
  const end = bodyEnd + END_MARK.length;
  const tail = await readUpTo(handle, bodyEnd, END_MARK.length + CHECKSUM_BYTES);
  if (!tail.subarray(0, END_MARK.length).equals(END_MARK)) throw backupDamaged('it was cut short.');
  const checksum = createHash('sha256');
  for (let at = 0; at < end;) {
    const block = await readUpTo(handle, at, Math.min(BLOCK_BYTES, end - at));
    if (block.length === 0) throw backupDamaged('it was cut short.');
    checksum.update(block);
    at += block.length;
  }
  if (!checksum.digest().equals(tail.subarray(END_MARK.length))) {
    throw backupDamaged('its checksum does not match, so it was altered.');
  }
}

async function readUpTo(handle: FileHandle, at: number, length: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await handle.read(buffer, filled, length - filled, at + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return buffer.subarray(0, filled);
}
