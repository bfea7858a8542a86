import { chmod, type FileHandle, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { DomainError } from '../domain-error.js';
import { readHead } from './archive.file.js';
import type { BackupReason, BackupScope } from './archive.format.js';
import { backupDiskFull, backupNotFound, backupStorageFailed } from './backups.errors.js';

/** One file of the folder. */
export interface BackupItem {
  filename: string;
  sizeBytes: number;
  /** As its head says; of a damaged file, when it was last written. */
  createdAt: Date;
  scope: BackupScope;
  /** Why it was made; null when the head of the file cannot be read. */
  reason: BackupReason | null;
}

const NAME = /^[A-Za-z0-9][\w.-]{0,199}\.cwb$/;
const PART = '.part';
/** A file that was not written to for so long is of a process that died. */
const STALE_PART_MS = 10 * 60_000;

/** The archives of one machine: a flat folder, whose files are found by listing it and never by a name from outside. */
export class BackupFolder {
  constructor(readonly path: string) {}

  /** Newest first. No folder is no backups. Throws `backup_storage_failed`. */
  async list(): Promise<BackupItem[]> {
    return storing(async () => {
      const items: BackupItem[] = [];
      for (const filename of await this.names()) {
        const item = await this.describe(filename);
        if (item) items.push(item);
      }
      return items.sort((a, b) => b.createdAt.getTime() - a.createdAt.getTime() || (a.filename < b.filename ? 1 : -1));
    });
  }

  /** The file of this name, if the folder lists it. Throws `backup_not_found`. */
  async find(filename: string): Promise<BackupItem & { path: string }> {
    return storing(async () => {
      const known = (await this.names()).find((name) => name === filename);
      const item = known === undefined ? null : await this.describe(known);
      if (!item) throw backupNotFound(filename);
      return { ...item, path: join(this.path, item.filename) };
    });
  }

  /** Throws `backup_not_found`. */
  async remove(filename: string): Promise<void> {
    const { path } = await this.find(filename);
    await storing(() => rm(path, { force: true }));
    await this.sync();
  }

  /**
   * Makes a file that is there whole or not at all. One caller at a time. Errors: `backup_disk_full`,
   * `backup_storage_failed`, and those of `fill`; after an error nothing is left.
   */
  async write(
    createdAt: Date,
    scope: BackupScope,
    fill: (write: (bytes: Buffer) => Promise<void>) => Promise<void>,
  ): Promise<string> {
    return storing(async () => {
      await mkdir(this.path, { recursive: true, mode: 0o700 });
      await chmod(this.path, 0o700);
      const taken = new Set(await this.sweep());
      const filename = freeName(createdAt, scope, taken);
      const part = join(this.path, filename + PART);
      const file = await open(part, 'wx', 0o600);
      try {
        try {
          await fill((bytes) => writeWhole(file, bytes));
          await file.sync();
        } finally {
          await file.close();
        }
        await rename(part, join(this.path, filename));
      } catch (error) {
        await rm(part, { force: true }).catch(() => undefined);
        throw error;
      }
      await this.sync();
      return filename;
    });
  }

  /** Removes what a crash left, and gives the names that are in use. */
  private async sweep(): Promise<string[]> {
    const names = await readdir(this.path);
    for (const name of names) {
      if (!name.endsWith(PART) || !NAME.test(name.slice(0, -PART.length))) continue;
      const path = join(this.path, name);
      const { mtimeMs } = await stat(path).catch(() => ({ mtimeMs: Date.now() }));
      if (Date.now() - mtimeMs > STALE_PART_MS) await rm(path, { force: true });
    }
    return names;
  }

  private async names(): Promise<string[]> {
    try {
      const entries = await readdir(this.path, { withFileTypes: true });
      return entries.filter((entry) => entry.isFile() && NAME.test(entry.name)).map((entry) => entry.name);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw error;
    }
  }

  /** Null: it was removed meanwhile. */
  private async describe(filename: string): Promise<BackupItem | null> {
    const path = join(this.path, filename);
    try {
      const { size, mtime } = await stat(path);
      const seen = { filename, sizeBytes: size };
      try {
        const { createdAt, scope, reason } = await readHead(path);
        return { ...seen, createdAt, scope, reason };
      } catch (error) {
        if (!(error instanceof DomainError)) throw error;
        return { ...seen, createdAt: mtime, scope: filename.includes('-full') ? 'full' : 'config', reason: null };
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
      throw error;
    }
  }

  /** Makes new and vanished names last through a power loss. */
  private async sync(): Promise<void> {
    const folder = await open(this.path, 'r');
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  }
}

/** `20261122T215855123Z-config.cwb` */
function freeName(createdAt: Date, scope: BackupScope, taken: ReadonlySet<string>): string {
  for (let at = createdAt.getTime(); ; at += 1) {
    const name = `${new Date(at).toISOString().replace(/[-:.]/g, '')}-${scope}.cwb`;
    if (!taken.has(name) && !taken.has(name + PART)) return name;
  }
}

async function writeWhole(file: FileHandle, bytes: Buffer): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    const { bytesWritten } = await file.write(bytes, at, bytes.length - at);
    at += bytesWritten;
  }
}

/** Says in our terms what the file system refused. */
export async function storing<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOSPC' || code === 'EDQUOT') throw backupDiskFull();
    if (typeof code === 'string' && FILE_FAULTS.has(code)) throw backupStorageFailed(code);
    throw error;
  }
}

/** Those of sockets are not among them. */
const FILE_FAULTS = new Set([
  'EACCES',
  'EBUSY',
  'EEXIST',
  'EFBIG',
  'EIO',
  'EISDIR',
  'ELOOP',
  'EMFILE',
  'ENFILE',
  'ENOENT',
  'ENOTDIR',
  'EPERM',
  'EROFS',
  'ESTALE',
]);
