import { randomBytes } from 'node:crypto';
import { constants, type ReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { Injectable } from '@nestjs/common';
import { InjectDataSource } from '@nestjs/typeorm';
import type { ClientBase } from 'pg';
import { DataSource, type QueryRunner } from 'typeorm';
import { Clock } from '../../platform/clock/clock.js';
import { Config } from '../../platform/config/config.js';
import { fieldText, rowFields } from '../../platform/copy/copy-text.js';
import { SecretBox } from '../../platform/crypto/secret-box.js';
import { withLock } from '../../platform/locks/advisory-lock.js';
import { AppLogger } from '../../platform/logging/app-logger.js';
import { EventsService, type NewEvent } from '../events/events.service.js';
import { InstallationService } from '../settings/installation.service.js';
import { databaseBody, readBody } from './archive.body.js';
import { ArchiveFile } from './archive.file.js';
import type { BackupReason } from './archive.format.js';
import { unwrapDataKey, wrapDataKey } from './archive.keys.js';
import { writeArchive } from './archive.writer.js';
import { BackupFolder, type BackupItem, storing } from './backup.folder.js';
import { BACKUP_PARTS, BACKUP_TABLES, type BackupKind, type BackupPart, checkedParts } from './backup.parts.js';
import { outdated } from './backup.retention.js';
import { backupBusy, backupNewer } from './backups.errors.js';
import { RestoreService, type SafetyBackup } from './restore.service.js';

/** One thing that a backup holds. */
export interface PreviewItem {
  kind: BackupKind;
  name: string;
}

export interface PreviewPart {
  /** Of all kinds together. */
  count: number;
  /** The first 10,000. */
  items: PreviewItem[];
}

/** What a backup holds, which restoring a part would bring back. */
export interface BackupPreview {
  filename: string;
  createdAt: Date;
  parts: Record<BackupPart, PreviewPart>;
}

export interface OpenOptions {
  /** The recovery phrase of the installation that made the backup, where that is another one. */
  phrase?: string | undefined;
}

export interface RestoreOptions extends OpenOptions {
  /** All when absent or empty. */
  parts?: readonly string[] | undefined;
  /** Only what `false` says is really restored. */
  preview?: boolean | undefined;
}

export interface RestoreResult {
  /** What the backup holds of the parts that were asked for; the others are empty. */
  preview: BackupPreview;
  /** The backup of the state before; null: nothing was restored. */
  safetyFilename: string | null;
}

export interface BackupDownload {
  filename: string;
  sizeBytes: number;
  stream: ReadStream;
}

/** The one lock of everything that writes a backup or restores one, in any process. */
const LOCK = 'causeway/backups';
const MOST_PREVIEWED = 10_000;

/**
 * Backups of scope `config`: encrypted files in DATA_DIR/backups. All methods throw `backup_storage_failed` when the
 * folder cannot be used.
 */
@Injectable()
export class BackupsService {
  private readonly folder: BackupFolder;

  constructor(
    @InjectDataSource() private readonly dataSource: DataSource,
    private readonly config: Config,
    private readonly secretBox: SecretBox,
    private readonly installation: InstallationService,
    private readonly restores: RestoreService,
    private readonly events: EventsService,
    private readonly clock: Clock,
    private readonly log: AppLogger,
  ) {
    this.folder = new BackupFolder(join(config.dataDir, 'backups'));
  }

  /** Newest first. */
  list(): Promise<BackupItem[]> {
    return this.folder.list();
  }

  /** Makes a backup of the present state. Errors: `backup_busy`, `backup_disk_full`. */
  create(reason: BackupReason = 'manual'): Promise<BackupItem> {
    return this.alone(() => this.make(reason));
  }

  /**
   * The automatic backup of the current day (UTC), unless there is one; then those past keeping are deleted. True: this
   * call made it. Errors: as `create`.
   */
  createDaily(): Promise<boolean> {
    return this.alone(async () => {
      const today = day(this.clock.now());
      const items = await this.folder.list();
      if (items.some(({ reason, createdAt }) => reason === 'auto' && day(createdAt) === today)) return false;
      await this.make('auto');
      await this.prune();
      return true;
    });
  }

  /** The file itself, as it is. Whoever asks reads the stream or destroys it. Errors: `backup_not_found`. */
  async download(filename: string): Promise<BackupDownload> {
    const { path } = await this.folder.find(filename);
    const file = await storing(() => open(path, constants.O_RDONLY | constants.O_NOFOLLOW));
    const { size } = await file.stat();
    return { filename, sizeBytes: size, stream: file.createReadStream() };
  }

  /** Errors: `backup_not_found`. */
  async remove(filename: string): Promise<void> {
    await this.folder.remove(filename);
    await this.events.record(eventOf('backup_deleted', filename, `Backup ${filename} was deleted`));
  }

  /**
   * Reads a backup to its end and says what is in it. Errors: `backup_not_found`, `backup_damaged`, `backup_newer`,
   * `backup_key_unknown`.
   */
  preview(filename: string, options: OpenOptions = {}): Promise<BackupPreview> {
    return this.withArchive(filename, options, (archive, dataKey) =>
      describe(filename, archive, dataKey, new Set(BACKUP_PARTS)),
    );
  }

  /**
   * Brings parts back to what a backup holds, engines included; usage and money stay. All of it is done when this
   * returns, and none of it when it throws: what engines refuse is put back. Errors: those of `preview`,
   * `backup_part_unknown`, `backup_busy`, `backup_conflict`, `backup_without_admin`, `backup_disk_full`,
   * `engine_unavailable`, `engine_refused`.
   */
  async restore(filename: string, options: RestoreOptions = {}): Promise<RestoreResult> {
    const parts = checkedParts(options.parts);
    const real = options.preview === false;
    const run = (): Promise<RestoreResult> =>
      this.withArchive(filename, options, async (archive, dataKey) => {
        const preview = await describe(filename, archive, dataKey, parts);
        if (!real) return { preview, safetyFilename: null };
        const safety = await this.prepare('pre_restore');
        const safetyFilename = await this.restores.restore({ filename, parts, archive, dataKey }, safety);
        await this.prune();
        return { preview, safetyFilename };
      });
    return real ? this.alone(run) : run();
  }

  private async make(reason: BackupReason): Promise<BackupItem> {
    const backup = await this.prepare(reason);
    const filename = await backup.write();
    const item = await this.folder.find(filename);
    await this.events.record({
      ...eventOf('backup_created', filename, `Backup ${filename} was made`),
      details: { reason, sizeBytes: item.sizeBytes },
      // Whoever happened to ask for a sync did not ask for this.
      ...(reason === 'auto' ? { actor: 'system' } : {}),
    });
    const { path: _path, ...listed } = item;
    return listed;
  }

  /**
   * Has all that a backup needs, its database connection too, so that `write` waits for nobody: a restore calls it while
   * it keeps all others from writing.
   */
  private async prepare(reason: BackupReason): Promise<SafetyBackup> {
    const recoveryPublicKey = await this.installation.recoveryPublicKey();
    const dataKey = randomBytes(32);
    const keys = await wrapDataKey(dataKey, {
      secretBox: this.secretBox,
      recoveryPublicKey,
      passphrase: this.config.backupPassphrase,
    });
    const reader = this.dataSource.createQueryRunner();
    const client = (await reader.connect()) as ClientBase;
    const createdAt = this.clock.now();
    const write = async (): Promise<string> => {
      try {
        await beginReading(reader);
        const head = {
          createdAt,
          scope: 'config' as const,
          reason,
          installationId: this.installation.installationId,
          schema: await lastMigration(reader),
          keys,
        };
        const body = databaseBody(client, BACKUP_TABLES, this.secretBox.exportKeys());
        return await this.folder.write(createdAt, 'config', (store) => writeArchive({ head, dataKey, body }, store));
      } finally {
        await endReading(reader);
      }
    };
    return {
      dataKey,
      write,
      discard: () => endReading(reader),
      open: async (filename) => ArchiveFile.open((await this.folder.find(filename)).path),
      remove: (filename) => this.folder.remove(filename),
    };
  }

  private async withArchive<T>(
    filename: string,
    { phrase }: OpenOptions,
    work: (archive: ArchiveFile, dataKey: Buffer) => Promise<T>,
  ): Promise<T> {
    const { path } = await this.folder.find(filename);
    const archive = await storing(() => ArchiveFile.open(path));
    try {
      const { schema, keys } = archive.head;
      if (!this.dataSource.migrations.some((migration) => migration.name === schema)) throw backupNewer(schema);
      const { secretBox } = this;
      const dataKey = await unwrapDataKey(keys, { secretBox, passphrase: this.config.backupPassphrase, phrase });
      return await work(archive, dataKey);
    } finally {
      await archive.close();
    }
  }

  /** One at a time in all processes. */
  private async alone<T>(work: () => Promise<T>): Promise<T> {
    const result = await withLock(this.dataSource, LOCK, work);
    if (!result.ran) throw backupBusy();
    return result.value;
  }

  private async prune(): Promise<void> {
    try {
      for (const { filename } of outdated(await this.folder.list())) {
        await this.folder.remove(filename);
        const message = `Backup ${filename} was past keeping and was deleted`;
        await this.events.record({ ...eventOf('backup_expired', filename, message), actor: 'system' });
      }
    } catch (error) {
      this.log.warn('old backups could not be deleted and are looked at again', { err: error });
    }
  }
}

function eventOf(action: string, target: string, message: string): NewEvent {
  return { type: 'BACKUP', service: 'backups', action, target, message };
}

async function describe(
  filename: string,
  archive: ArchiveFile,
  dataKey: Buffer,
  wanted: ReadonlySet<BackupPart>,
): Promise<BackupPreview> {
  const parts = Object.fromEntries(BACKUP_PARTS.map((part) => [part, { count: 0, items: [] }])) as unknown as Record<
    BackupPart,
    PreviewPart
  >;
  await readBody(archive.body(dataKey), ({ table: name, columns }) => {
    const table = BACKUP_TABLES.find((known) => known.name === name);
    if (!table || !wanted.has(table.part)) return null;
    const part = parts[table.part];
    const at = columns.indexOf(table.nameColumn ?? '');
    return async (rows) => {
      for await (const row of rows) {
        part.count += 1;
        if (part.items.length >= MOST_PREVIEWED) continue;
        const value = fieldText(rowFields(row)[at] ?? '') ?? '';
        part.items.push({ kind: table.kind, name: `${table.namePrefix ?? ''}${value}` });
      }
    };
  });
  return { filename, createdAt: archive.head.createdAt, parts };
}

async function beginReading(reader: QueryRunner): Promise<void> {
  await reader.startTransaction('REPEATABLE READ');
  await reader.query('SET TRANSACTION READ ONLY');
  // A slow disk holds COPY up; a database or role may have its own ways of writing values.
  await reader.query(
    `SET LOCAL statement_timeout = '10min'; SET LOCAL idle_in_transaction_session_timeout = '10min';
     SET LOCAL DateStyle = 'ISO, YMD'; SET LOCAL bytea_output = 'hex'`,
  );
}

async function endReading(reader: QueryRunner): Promise<void> {
  if (reader.isTransactionActive) await reader.rollbackTransaction().catch(() => undefined);
  if (!reader.isReleased) await reader.release();
}

async function lastMigration(reader: QueryRunner): Promise<string> {
  const rows = (await reader.query('SELECT name FROM migrations ORDER BY "timestamp" DESC LIMIT 1')) as {
    name: string;
  }[];
  return rows[0]?.name ?? '';
}

function day(date: Date): string {
  return date.toISOString().slice(0, 10);
}
