import { Injectable, type OnModuleInit } from '@nestjs/common';
import { Clock, formatUtc } from '../../platform/clock/clock.js';
import { AppLogger } from '../../platform/logging/app-logger.js';
import { DomainError } from '../domain-error.js';
import { EventsService } from '../events/events.service.js';
import { AlertsService } from '../settings/alerts.service.js';
import { SettingsService } from '../settings/settings.service.js';
import { SyncService } from '../tunnels/sync.service.js';
import { UsersService } from '../users/users.service.js';
import { BackupsService } from './backups.service.js';

/** Syncs come every few seconds; a disk that is full is not tried as often. */
const RETRY_MS = 10 * 60_000;

/** The setting `auto_backup`: the first sync of each day (UTC) makes a backup. */
@Injectable()
export class AutoBackupService implements OnModuleInit {
  /** The day whose backup is known to be there. */
  private doneFor = '';
  private running: Promise<void> | null = null;
  private failure: { reason: string; at: Date; retryAt: number } | null = null;

  constructor(
    private readonly backups: BackupsService,
    private readonly sync: SyncService,
    private readonly settings: SettingsService,
    private readonly users: UsersService,
    private readonly events: EventsService,
    private readonly alerts: AlertsService,
    private readonly clock: Clock,
    private readonly log: AppLogger,
  ) {}

  onModuleInit(): void {
    this.sync.afterSync(() => this.run());
    this.alerts.register(() => {
      const { failure } = this;
      return failure ? [`Backups: the automatic one failed at ${formatUtc(failure.at)}: ${failure.reason}`] : [];
    });
  }

  /** Makes today's backup if it is wanted and missing. Who calls it meanwhile waits for the same one. Never rejects. */
  run(): Promise<void> {
    this.running ??= this.runOnce().finally(() => {
      this.running = null;
    });
    return this.running;
  }

  private async runOnce(): Promise<void> {
    try {
      if (!(await this.settings.get('auto_backup'))) {
        this.failure = null;
        return;
      }
      const today = this.clock.now().toISOString().slice(0, 10);
      if (this.doneFor === today) return;
      if (this.failure && this.clock.monotonicMs() < this.failure.retryAt) return;
      // Before anybody is there, there is nothing to keep; what is made later today should be in today's.
      if ((await this.users.countAdmins()) === 0) return;
      await this.backups.createDaily();
      this.doneFor = today;
      this.failure = null;
    } catch (error) {
      // Another process is at it, and the next sync looks again.
      if (error instanceof DomainError && error.code === 'backup_busy') return;
      await this.fail(error);
    }
  }

  /** Said once for each reason, until it went well again. */
  private async fail(error: unknown): Promise<void> {
    const reason = error instanceof DomainError ? error.message : 'It could not be made; the log says why.';
    const known = this.failure?.reason === reason;
    this.failure = { reason, at: this.clock.now(), retryAt: this.clock.monotonicMs() + RETRY_MS };
    this.log.error('the automatic backup failed and is tried again', { err: error });
    if (known) return;
    try {
      await this.events.record({
        type: 'BACKUP',
        severity: 'ERROR',
        service: 'backups',
        action: 'backup_failed',
        message: `The automatic backup failed: ${reason}`,
        actor: 'system',
      });
    } catch (failure) {
      this.log.warn('a failed backup could not be recorded', { err: failure });
    }
  }
}
