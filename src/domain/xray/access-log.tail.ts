import { open, type FileHandle } from 'node:fs/promises';
import { parseAccessLogLine, type AccessLogEntry } from './access-log.line.js';

const CHUNK_BYTES = 256 * 1024;

/** How far the log was read. */
export interface LogMark {
  /** Another one: the file is another one, and read from its start. Null: never read. */
  inode: string | null;
  /** In bytes, behind a line's end. */
  position: number;
}

export interface LogRead extends LogMark {
  /** Nothing complete is left to read. */
  atEnd: boolean;
}

/**
 * Reads whole lines behind `from`, at most about `limitBytes`, and gives each connection to `take`. A file that became
 * shorter was truncated and is read from its start. Null when there is no file; throws what the file system throws.
 */
export async function readAccessLog(
  path: string,
  from: LogMark,
  limitBytes: number,
  take: (entry: AccessLogEntry) => void,
): Promise<LogRead | null> {
  const file = await openLog(path, 'r');
  if (file === null) return null;
  try {
    const { ino, size } = await file.stat({ bigint: true });
    const inode = ino.toString();
    let position = inode === from.inode && from.position <= Number(size) ? from.position : 0;
    const end = Math.min(Number(size), position + limitBytes);
    const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
    while (position < end) {
      const { bytesRead } = await file.read(buffer, 0, CHUNK_BYTES, position);
      if (bytesRead === 0) break;
      const last = buffer.lastIndexOf(10, bytesRead - 1);
      if (last < 0) {
        // Half a line at the end of the file is read when it is whole; one longer than the buffer is nobody's line.
        if (bytesRead < CHUNK_BYTES) break;
        position += bytesRead;
        continue;
      }
      for (const line of buffer.toString('utf8', 0, last).split('\n')) {
        const entry = parseAccessLogLine(line);
        if (entry) take(entry);
      }
      position += last + 1;
    }
    return { inode, position, atEnd: Number(size) <= end };
  } finally {
    await file.close();
  }
}

/**
 * Empties a log that was read to its end and has grown past `limitBytes`: the engine appends, so it goes on at the start.
 * Lines written in this moment are lost, which connections' counts bear. True when it was emptied.
 */
export async function truncateAccessLog(path: string, read: LogMark, limitBytes: number): Promise<boolean> {
  if (read.position < limitBytes) return false;
  const file = await openLog(path, 'r+');
  if (file === null) return false;
  try {
    const { ino, size } = await file.stat({ bigint: true });
    if (ino.toString() !== read.inode || Number(size) > read.position) return false;
    await file.truncate(0);
    return true;
  } finally {
    await file.close();
  }
}

async function openLog(path: string, flags: 'r' | 'r+'): Promise<FileHandle | null> {
  try {
    return await open(path, flags);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}
