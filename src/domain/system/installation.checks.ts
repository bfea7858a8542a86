import { randomBytes } from 'node:crypto';
import { open, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Injectable } from '@nestjs/common';
import { InjectDataSource } from '@nestjs/typeorm';
import { DataSource } from 'typeorm';
import { Clock, formatUtc } from '../../platform/clock/clock.js';
import { Config } from '../../platform/config/config.js';
import { BackupsService } from '../backups/backups.service.js';
import { EnginesService } from '../engines/engines.service.js';
import { InterfacesService, WIREGUARD_ENGINE } from '../interfaces/interfaces.service.js';
import { SettingsService } from '../settings/settings.service.js';
import { UsersService } from '../users/users.service.js';
import { HostSampler } from './host-sampler.service.js';
import { PortsService } from './ports.service.js';

export interface CheckOutcome {
  ok: boolean;
  /** One sentence for an operator. */
  message: string;
  /** What mends it; null when nothing is wrong. */
  hint: string | null;
}

export interface InstallationCheck {
  name: string;
  /** What it looks at, as a phrase. */
  description: string;
  limitMs: number;
  run: () => Promise<CheckOutcome>;
}

const LIMIT_MS = 10_000;
/** Reads a whole archive. */
const BACKUPS_LIMIT_MS = 60_000;
const LEAST_DISK_BYTES = 512 * 1024 * 1024;
const MOST_CLOCK_DRIFT_MS = 2_000;
const MOST_BACKUP_AGE_MS = 26 * 3_600_000;
/** The first automatic backup may still be on its way. */
const SETTLED_SECONDS = 600;

/** What can be wrong with an installation, each as a check of the running thing. */
@Injectable()
export class InstallationChecks {
  constructor(
    @InjectDataSource() private readonly dataSource: DataSource,
    private readonly config: Config,
    private readonly engines: EnginesService,
    private readonly ports: PortsService,
    private readonly host: HostSampler,
    private readonly backups: BackupsService,
    private readonly interfaces: InterfacesService,
    private readonly settings: SettingsService,
    private readonly users: UsersService,
    private readonly clock: Clock,
  ) {}

  all(): InstallationCheck[] {
    const check = (
      name: string,
      description: string,
      run: () => Promise<CheckOutcome>,
      limitMs = LIMIT_MS,
    ): InstallationCheck => ({ name, description, limitMs, run });
    return [
      check('database', 'PostgreSQL answers, takes writes, and has the schema of this release', () => this.database()),
      check('engines', 'All engines that are wanted are up', () => this.allEngines()),
      check('ports', 'All ports that are meant to be served are', () => this.allPorts()),
      check('disk', 'The disk of DATA_DIR has room', () => this.disk()),
      check('data_dir', 'DATA_DIR can be written, and its key is private', () => this.dataDir()),
      check('backups', 'The newest backup is recent and can be read', () => this.newestBackup(), BACKUPS_LIMIT_MS),
      check('clock', 'The clock agrees with that of the database', () => this.clocks()),
      check('forwarding', 'The host forwards what comes out of the tunnels', () => this.forwarding()),
    ];
  }

  private async database(): Promise<CheckOutcome> {
    const [row] = await this.dataSource.query<[{ version: string; read_only: boolean }]>(
      `SELECT current_setting('server_version') AS version,
              pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean AS read_only`,
    );
    if (row.read_only) {
      return failed('PostgreSQL takes no writes', 'Point DATABASE_URL at the primary, not at a replica');
    }
    if (await this.dataSource.showMigrations()) {
      return failed('The schema is of another release', 'Restart the server: it migrates at start');
    }
    return passed(`PostgreSQL ${row.version} answers and takes writes`);
  }

  private async allEngines(): Promise<CheckOutcome> {
    const engines = await this.engines.status();
    const down = engines.filter(({ state }) => state === 'down');
    if (down.length > 0) {
      const hint = down.map(({ hint: line }) => line).find((line) => line !== null);
      return failed(
        down.map(({ id, message }) => `${id} is down: ${message}`).join('; '),
        hint ?? 'The log says why; /readyz shows when it is up again',
      );
    }
    return passed(engines.map(({ id, state }) => `${id} is ${state}`).join(', ') || 'There are no engines');
  }

  private async allPorts(): Promise<CheckOutcome> {
    const ports = await this.ports.probe();
    const named = ports.map((port) => ({ ...port, text: `${port.port}/${port.protocol} (${port.name})` }));
    const stopped = named.filter(({ running }) => !running);
    if (stopped.length > 0) {
      return failed(
        stopped.map(({ text, message }) => `${text}: ${message}`).join('; '),
        'See whether the engine of the port is up, and whether another program has the port',
      );
    }
    return passed(
      named.length === 0 ? 'No port is to be served' : `Served: ${named.map(({ text }) => text).join(', ')}`,
    );
  }

  private async disk(): Promise<CheckOutcome> {
    const { diskAvailableBytes: free } = this.host.snapshot();
    if (free === null) return failed('The disk of DATA_DIR does not answer', 'See whether its file system is mounted');
    const text = `${Math.floor(free / (1024 * 1024))} MiB are free`;
    return free < LEAST_DISK_BYTES ? failed(text, 'Make room: at 0 the database stops') : passed(text);
  }

  private async dataDir(): Promise<CheckOutcome> {
    const { dataDir } = this.config;
    const path = join(dataDir, `.self-check-${randomBytes(8).toString('hex')}`);
    try {
      const file = await open(path, 'wx+', 0o600);
      try {
        await file.writeFile('written');
        await file.sync();
      } finally {
        await file.close();
      }
      if ((await readFile(path, 'utf8')) !== 'written') {
        return failed('DATA_DIR reads back other than was written', 'Check the disk');
      }
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? 'unknown';
      return failed(`DATA_DIR cannot be written (${code})`, `Make ${dataDir} writable for the user of this server`);
    } finally {
      await rm(path, { force: true }).catch(() => undefined);
    }
    const key = await stat(join(dataDir, 'secret.key')).catch(() => null);
    if (key !== null && (key.mode & 0o077) !== 0) {
      return failed('Others can read secret.key', `chmod 600 ${join(dataDir, 'secret.key')}`);
    }
    return passed('DATA_DIR can be written');
  }

  private async newestBackup(): Promise<CheckOutcome> {
    const wanted = await this.settings.get('auto_backup');
    const [newest] = await this.backups.list();
    if (newest === undefined) {
      // There is nothing to keep before there is an admin, and the first sync of a day needs its time.
      const early = process.uptime() < SETTLED_SECONDS || (await this.users.countAdmins()) === 0;
      if (!wanted) return passed('There is none, and auto_backup is off');
      return early
        ? passed('There is none yet')
        : failed('There is none although auto_backup is on', 'POST /api/backups');
    }
    await this.backups.preview(newest.filename);
    const text = `The newest is of ${formatUtc(newest.createdAt)} and can be read`;
    const old = this.clock.nowMs() - newest.createdAt.getTime() > MOST_BACKUP_AGE_MS;
    if (!wanted || !old || process.uptime() < SETTLED_SECONDS) return passed(text);
    return failed(`${text}, but it is more than a day old`, 'The alerts and events say why no newer one was made');
  }

  private async clocks(): Promise<CheckOutcome> {
    const began = this.clock.nowMs();
    const [row] = await this.dataSource.query<[{ now: Date }]>('SELECT clock_timestamp() AS now');
    const ended = this.clock.nowMs();
    // The database read its clock somewhen between the two.
    const theirs = row.now.getTime();
    const drift = Math.round(Math.max(0, began - theirs, theirs - ended));
    const text = `This clock and the database's differ by ${drift} ms`;
    return drift > MOST_CLOCK_DRIFT_MS ? failed(text, 'Let NTP set the clocks of both hosts') : passed(text);
  }

  private async forwarding(): Promise<CheckOutcome> {
    const { state } = await this.engines.healthOf(WIREGUARD_ENGINE);
    const used = state !== 'absent' && (await this.interfaces.list()).some(({ enabled }) => enabled);
    if (!used) return passed('Not needed: there is no WireGuard interface');
    const text = await readFile('/proc/sys/net/ipv4/ip_forward', 'utf8').catch(() => null);
    if (text === null) return passed('This system does not tell');
    if (text.trim() === '1') return passed('IPv4 forwarding is on');
    return failed('IPv4 forwarding is off: clients reach nothing beyond this host', 'sysctl -w net.ipv4.ip_forward=1');
  }
}

const passed = (message: string): CheckOutcome => ({ ok: true, message, hint: null });

const failed = (message: string, hint: string): CheckOutcome => ({ ok: false, message, hint });
