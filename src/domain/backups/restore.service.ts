import { Injectable } from '@nestjs/common';
import { InjectDataSource } from '@nestjs/typeorm';
import type { ClientBase } from 'pg';
import { DataSource, type EntityManager, QueryFailedError } from 'typeorm';
import { Clock } from '../../platform/clock/clock.js';
import { SecretBox, SecretBoxError } from '../../platform/crypto/secret-box.js';
import { AppLogger } from '../../platform/logging/app-logger.js';
import { DomainError } from '../domain-error.js';
import { API_TOKEN_LABEL, ApiTokensService } from '../auth/api-tokens.service.js';
import type { ApiTokenScope } from '../auth/api-token.entity.js';
import { engineUnavailable } from '../engines/engines.errors.js';
import { EnginesService } from '../engines/engines.service.js';
import { EventsService } from '../events/events.service.js';
import { WIREGUARD_ENGINE } from '../interfaces/interfaces.service.js';
import { InstallationService } from '../settings/installation.service.js';
import { type SettingChange, SettingsService } from '../settings/settings.service.js';
import { UsageService } from '../usage/usage.service.js';
import { UsersService } from '../users/users.service.js';
import { XRAY_ENGINE } from '../xray/xray-engine-keys.js';
import { ArchiveFile } from './archive.file.js';
import { BACKUP_TABLES, type BackupPart } from './backup.parts.js';
import { backupBusy, backupConflict, backupDamaged } from './backups.errors.js';
import { loadTables } from './restored.tables.js';
import { restoreSettings } from './settings.restore.js';
import { matchPeople, restoreUsers } from './users.restore.js';
import { restoreWireguard } from './wireguard.restore.js';
import { hasXray, restoreXrayInbounds, restoreXraySettings, restoreXrayUsers } from './xray.restore.js';

/** An archive that opens, and what to take from it. */
export interface RestoreJob {
  /** Named in the event log. */
  filename: string;
  parts: ReadonlySet<BackupPart>;
  archive: ArchiveFile;
  dataKey: Buffer;
}

/** A backup about to be made; `discard` frees what it holds if it is not written, and does no harm after that. */
export interface SafetyBackup {
  readonly dataKey: Buffer;
  /** Makes the file and returns its name. */
  write(): Promise<string>;
  discard(): Promise<void>;
  /** Opens what `write` made. */
  open(filename: string): Promise<ArchiveFile>;
  /** Deletes what `write` made. */
  remove(filename: string): Promise<void>;
}

/** What has to follow the rows. */
interface Outcome {
  changes: SettingChange[];
  /** The proxy engine has, or had, something to serve. */
  proxied: boolean;
}

/** Brings rows back in one transaction and has the engines follow. One restore at a time is the caller's business. */
@Injectable()
export class RestoreService {
  constructor(
    @InjectDataSource() private readonly dataSource: DataSource,
    private readonly secretBox: SecretBox,
    private readonly installation: InstallationService,
    private readonly settings: SettingsService,
    private readonly users: UsersService,
    private readonly apiTokens: ApiTokensService,
    private readonly engines: EnginesService,
    private readonly usage: UsageService,
    private readonly events: EventsService,
    private readonly clock: Clock,
    private readonly log: AppLogger,
  ) {}

  /**
   * Restores, after a backup of the state that nobody can change meanwhile, whose name is returned. When the engines
   * refuse, that state is put back and their error thrown. Errors: `backup_busy`, `backup_conflict`,
   * `backup_without_admin`, `engine_unavailable`, `engine_refused`, those of reading the archive and writing another.
   */
  async restore(job: RestoreJob, safety: SafetyBackup): Promise<string> {
    let safetyFilename: string | null = null;
    let committing = false;
    let outcome: Outcome;
    try {
      if (job.parts.has('wireguard')) await this.assertNotDown();
      const proxyRefusal = servesProxy(job.parts) ? await this.proxyRefusal() : null;
      outcome = await this.inTransaction(
        job,
        async () => {
          safetyFilename = await safety.write();
        },
        async (tx, { proxied }) => {
          if (proxied && proxyRefusal) throw proxyRefusal;
          await this.record(tx, 'backup_restored', job, `${this.names(job)} were restored from ${job.filename}`, {
            safety: safetyFilename,
          });
          committing = true;
        },
      );
    } catch (error) {
      await safety.discard();
      if (safetyFilename !== null && !committing) await safety.remove(safetyFilename).catch(() => undefined);
      throw error;
    }
    const filename = safetyFilename!;
    try {
      await this.follow(job.parts, outcome);
    } catch (error) {
      this.log.error('the engines refused what was restored, which is taken back', { err: error });
      await this.takeBack(job, safety, filename);
      throw error;
    }
    return filename;
  }

  private async takeBack(job: RestoreJob, safety: SafetyBackup, filename: string): Promise<void> {
    try {
      const archive = await safety.open(filename);
      try {
        const before = { filename, parts: job.parts, archive, dataKey: safety.dataKey };
        const outcome = await this.inTransaction(
          before,
          async () => undefined,
          (tx) =>
            this.record(
              tx,
              'backup_restore_undone',
              job,
              `Restoring ${job.filename} failed on the engines: all is as it was before`,
              { safety: filename },
              'ERROR',
            ),
        );
        await this.follow(job.parts, outcome);
      } finally {
        await archive.close();
      }
    } catch (error) {
      // The rows are one state or the other, whole, and the reconcilers go by them.
      this.log.error('taking back a restore did not go through', { err: error, safety: filename });
    }
  }

  private async inTransaction(
    job: RestoreJob,
    begun: () => Promise<void>,
    ending: (tx: EntityManager, outcome: Outcome) => Promise<void>,
  ): Promise<Outcome> {
    const runner = this.dataSource.createQueryRunner();
    try {
      const client = (await runner.connect()) as ClientBase;
      await runner.startTransaction('READ COMMITTED');
      await prepareSession(runner.manager, job.parts);
      await begun();
      const outcome = await this.replace(runner.manager, client, job);
      await ending(runner.manager, outcome);
      await runner.commitTransaction();
      return outcome;
    } catch (error) {
      if (runner.isTransactionActive) await runner.rollbackTransaction().catch(() => undefined);
      throw inOurTerms(error);
    } finally {
      if (!runner.isReleased) await runner.release();
    }
  }

  private async replace(tx: EntityManager, client: ClientBase, job: RestoreJob): Promise<Outcome> {
    const { archive, dataKey, parts } = job;
    const tables = await loadTables(client, archive.body(dataKey), this.secretBox);
    if (!tables.has('users')) throw backupDamaged('it has no users.');
    // What an archive from before there was such a table cannot say stays as it is.
    const restores = (part: BackupPart, ...names: string[]): boolean =>
      parts.has(part) && names.every((name) => tables.has(name));
    const columnsOf = (name: string): string[] => tables.get(name) ?? [];
    await matchPeople(tx, archive.head.installationId === this.installation.installationId);
    if (restores('users', 'api_tokens')) {
      await restoreUsers(tx, columnsOf('users'));
      await this.users.forgetAll(tx);
      await this.restoreApiTokens(tx);
    }
    const changes = restores('settings', 'settings') ? await restoreSettings(tx, this.settings, this.secretBox) : [];
    if (restores('settings', 'xray_settings')) await restoreXraySettings(tx, columnsOf('xray_settings'));

    const hadXray = await hasXray(tx);
    if (restores('inbounds', 'xray_inbounds')) await restoreXrayInbounds(tx, columnsOf('xray_inbounds'));
    if (restores('users', 'xray_users')) {
      await restoreXrayUsers(tx, columnsOf('xray_users'), this.usage, this.clock.now());
    }
    if (restores('wireguard', 'wireguard_interfaces', 'clients')) {
      await restoreWireguard(tx, tables, this.usage, this.clock.now());
    }
    return { changes, proxied: servesProxy(parts) && (hadXray || (await hasXray(tx))) };
  }

  private async restoreApiTokens(tx: EntityManager): Promise<void> {
    const rows = await tx.query<{ name: string; token: Buffer; scope: ApiTokenScope; created_at: Date }[]>(
      'SELECT name, token, scope, created_at FROM restored_api_tokens ORDER BY name',
    );
    const tokens = rows.flatMap(({ name, token, scope, created_at: createdAt }) => {
      try {
        return [{ name, scope, createdAt, token: this.secretBox.open(API_TOKEN_LABEL, token) }];
      } catch (error) {
        if (!(error instanceof SecretBoxError)) throw error;
        this.log.warn('an API token of the backup does not open and is left out', { name });
        return [];
      }
    });
    await this.apiTokens.replaceAll(tokens, tx);
  }

  /** Has settings and engines be what the rows are now. */
  private async follow(parts: ReadonlySet<BackupPart>, { changes, proxied }: Outcome): Promise<void> {
    if (parts.has('wireguard')) await this.engines.command(WIREGUARD_ENGINE, 'reload');
    if (proxied) await this.engines.command(XRAY_ENGINE, 'reload');
    await this.settings.applied(changes);
  }

  /** Absent is fine: then there is nothing that would have to follow. */
  private async assertNotDown(): Promise<void> {
    const health = await this.engines.healthOf(WIREGUARD_ENGINE);
    if (health.state === 'down') throw engineUnavailable(WIREGUARD_ENGINE, health.message, health.hint);
  }

  /**
   * Why the proxy engine cannot follow now, for restores that need it to. Absent is fine; one that is down may be so
   * because of its inbound, which the restore mends.
   */
  private async proxyRefusal(): Promise<DomainError | null> {
    if ((await this.engines.healthOf(XRAY_ENGINE)).state === 'absent') return null;
    try {
      await this.engines.assertDriven(XRAY_ENGINE);
      return null;
    } catch (error) {
      if (error instanceof DomainError) return error;
      throw error;
    }
  }

  private names({ parts }: RestoreJob): string {
    const names = [...parts].join(', ');
    return names.charAt(0).toUpperCase() + names.slice(1);
  }

  private record(
    tx: EntityManager,
    action: string,
    { filename, parts }: RestoreJob,
    message: string,
    details: Record<string, unknown>,
    severity: 'WARN' | 'ERROR' = 'WARN',
  ): Promise<void> {
    return this.events.record(
      {
        type: 'BACKUP',
        severity,
        service: 'backups',
        action,
        target: filename,
        message,
        details: { parts: [...parts], ...details },
      },
      tx,
    );
  }
}

function servesProxy(parts: ReadonlySet<BackupPart>): boolean {
  return parts.has('users') || parts.has('inbounds');
}

/** Keeps everybody else from writing to what is replaced; readers see the state before until the commit. */
async function prepareSession(tx: EntityManager, parts: ReadonlySet<BackupPart>): Promise<void> {
  await tx.query(
    `SET LOCAL lock_timeout = '5s'; SET LOCAL statement_timeout = '10min';
     SET LOCAL idle_in_transaction_session_timeout = '10min'; SET LOCAL DateStyle = 'ISO, YMD'`,
  );
  const tables = BACKUP_TABLES.filter(({ part }) => parts.has(part)).map(({ name }) => name);
  if (parts.has('wireguard')) tables.push('free_addresses', 'retired_devices');
  if (tables.length > 0) await tx.query(`LOCK TABLE ${tables.join(', ')} IN SHARE ROW EXCLUSIVE MODE`);
}

const CONFLICTS: Readonly<Record<string, string>> = {
  users_username_key: 'a user of the backup has the name of another one',
  users_telegram_id_key: 'a user of the backup has the Telegram id of another one',
};

function inOurTerms(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const { code, constraint } = (error instanceof QueryFailedError ? error.driverError : error) as {
    code?: string;
    constraint?: string;
  };
  // Lock not available, deadlock.
  if (code === '55P03' || code === '40P01') return backupBusy();
  if (code === '23505' || code === '23P01' || code === '23503') {
    return backupConflict(CONFLICTS[constraint ?? ''] ?? 'one of its rows has the place of another one');
  }
  // What COPY does not take: a line of the archive that is no row.
  if (code?.startsWith('22')) return backupDamaged('its rows do not fit the tables.');
  return error;
}
