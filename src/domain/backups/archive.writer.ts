import { createHash } from 'node:crypto';
import { pipeline } from 'node:stream/promises';
import { createDeflate } from 'node:zlib';
import { type ArchiveHead, CHUNK_BYTES, ChunkCipher, encodeHead, END_MARK } from './archive.format.js';

/**
 * Writes a whole archive: head, then `body` compressed and sealed, then the checksum. `write` is called with one block
 * after the other and waited for, so that no more than a few blocks are in memory.
 */
export async function writeArchive(
  archive: { head: ArchiveHead; dataKey: Buffer; body: AsyncIterable<Buffer> },
  write: (bytes: Buffer) => Promise<void>,
): Promise<void> {
  const checksum = createHash('sha256');
  const emit = (bytes: Buffer): Promise<void> => {
    checksum.update(bytes);
    return write(bytes);
  };
  const head = encodeHead(archive.head);
  await emit(head);
  const cipher = new ChunkCipher(archive.dataKey, head);
  await pipeline(archive.body, createDeflate(), async (compressed: AsyncIterable<Buffer>) => {
    let held: Buffer = Buffer.alloc(0);
    for await (const piece of compressed) {
      held = held.length === 0 ? piece : Buffer.concat([held, piece]);
      // The last chunk is marked, so one is always held back.
      while (held.length > CHUNK_BYTES) {
        await emit(cipher.seal(held.subarray(0, CHUNK_BYTES), false));
        held = held.subarray(CHUNK_BYTES);
      }
    }
    await emit(cipher.seal(held, true));
  });
  await emit(END_MARK);
  await write(checksum.digest());
}
