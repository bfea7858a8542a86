import { randomBytes } from 'node:crypto';
import { readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AutoBackupService } from '../../src/domain/backups/auto-backup.service.js';
import { BackupsService } from '../../src/domain/backups/backups.service.js';
import { EventsService } from '../../src/domain/events/events.service.js';
import { AlertsService } from '../../src/domain/settings/alerts.service.js';
import { SettingsService } from '../../src/domain/settings/settings.service.js';
import { UsersService } from '../../src/domain/users/users.service.js';
import { type Application, startApplication } from '../support/application.js';
import { mustRun } from '../support/command.js';
import { asOwner, createDatabase, type TestDatabase } from '../support/database.js';
import { Household, householdPassword } from '../support/household.js';
import { eventually } from '../support/wait.js';

const KEY = 'k'.repeat(40);
const PASSWORD = householdPassword;

let database: TestDatabase;
let app: Application;
let home: Household;
let backups: BackupsService;

const code = (name: string): object => expect.objectContaining({ code: name }) as object;

beforeEach(async () => {
  database = await createDatabase();
  app = await startApplication(database.url, { secretKey: KEY });
  home = new Household(app);
  backups = app.get(BackupsService);
  await app.get(SettingsService).set('auto_backup', '0');
});

afterEach(async () => {
  await app.close();
  await database.drop();
});

describe('when something goes wrong', () => {
  /** Makes each client that is written wait, until the function is gone. */
  const slowClients = (): Promise<unknown> =>
    asOwner(database.name, (client) =>
      client.query(`
        CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(60); RETURN NEW; END $$;
        CREATE TRIGGER slowly BEFORE INSERT ON clients FOR EACH ROW EXECUTE FUNCTION slowly()`),
    );
  const asleep = (): Promise<number> =>
    asOwner(database.name, async (client) => {
      const { rows } = await client.query<{ pid: number }>(
        `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'`,
      );
      return rows[0]!.pid;
    });

  it('in the middle of a restore, nothing was changed', async () => {
    await home.furnish();
    const { filename } = await backups.create();
    await home.turmoil();
    const before = await home.state();
    await home.sql(`
      CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not now'; END $$;
      CREATE TRIGGER refuse BEFORE INSERT ON clients FOR EACH ROW WHEN (NEW.name = 'bert') EXECUTE FUNCTION refuse()`);
    await expect(backups.restore(filename, { preview: false })).rejects.toThrow('not now');
    expect(await home.state()).toEqual(before);
    expect(await home.files()).toEqual([filename]);
    await home.sql('DROP FUNCTION refuse CASCADE');
    await backups.restore(filename, { preview: false });
    expect((await home.view())['clients']).toMatchObject([{ name: 'alice' }, { name: 'bert' }]);
  });

  it('and the connection is lost half-way, nothing was changed and the next one goes through', async () => {
    await home.furnish();
    const { filename } = await backups.create();
    await home.turmoil();
    const before = await home.state();
    await slowClients();
    const restoring = backups.restore(filename, { preview: false }).then(
      () => null,
      (error: unknown) => error,
    );
    const pid = await eventually(asleep);
    // Others wait for it or are told, and nobody gets in between.
    await expect(backups.create()).rejects.toMatchObject({ kind: 'conflict', code: 'backup_busy' });
    await asOwner('postgres', (client) => client.query('SELECT pg_terminate_backend($1)', [pid]));
    expect(String(await restoring)).toMatch(/terminat|connection/i);
    expect(await home.state()).toEqual(before);
    expect(await home.files()).toEqual([filename]);
    await home.sql('DROP FUNCTION slowly CASCADE');
    await backups.restore(filename, { preview: false });
    expect((await home.view())['clients']).toMatchObject([{ name: 'alice' }, { name: 'bert' }]);
  });

  it('and somebody holds the tables, a restore gives up and says so', async () => {
    await home.furnish();
    const { filename } = await backups.create();
    await asOwner(database.name, async (client) => {
      await client.query('BEGIN');
      await client.query('LOCK TABLE clients IN ROW EXCLUSIVE MODE');
      await expect(backups.restore(filename, { preview: false })).rejects.toMatchObject(code('backup_busy'));
      await client.query('ROLLBACK');
    });
    expect(await home.files()).toEqual([filename]);
  });

  it('two at once are one after the other or refused, in two processes as well', async () => {
    await home.furnish();
    const { dataDir } = app;
    const second = await startApplication(database.url, { secretKey: KEY, dataDir });
    try {
      const tries = [backups, second.get(BackupsService), backups, second.get(BackupsService)];
      const results = await Promise.allSettled(tries.map((service) => service.create()));
      const made = results.filter((result) => result.status === 'fulfilled');
      expect(made.length).toBeGreaterThan(0);
      for (const result of results) {
        if (result.status === 'rejected')
          expect(result.reason).toMatchObject({ kind: 'conflict', code: 'backup_busy' });
      }
      expect(await home.files()).toHaveLength(made.length);
      for (const { filename } of await backups.list()) await backups.preview(filename);
    } finally {
      await second.close();
    }
  });

  it('what a crash left of a file is neither listed nor kept', async () => {
    await backups.create();
    const [stale, fresh] = ['20260101T000000000Z-config.cwb.part', '20260101T000000001Z-config.cwb.part'];
    for (const name of [stale, fresh]) await writeFile(home.fileOf(name), 'half');
    await utimes(home.fileOf(stale), new Date(0), new Date(0));
    expect(await backups.list()).toHaveLength(1);
    await backups.create();
    expect(await home.files()).toContain(fresh);
    expect(await home.files()).not.toContain(stale);
  });

  it('and the disk is full, the error says so and no part of a file is left', async () => {
    await home.furnish();
    const folder = join(app.dataDir, 'backups');
    const { filename } = await backups.create();
    const archive = await readFile(home.fileOf(filename));
    await mustRun(['mount', '-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', folder]);
    try {
      await writeFile(home.fileOf(filename), archive);
      await home.sql('UPDATE clients SET note = $1', [randomBytes(60_000).toString('base64')]);
      const before = await home.state();
      await expect(backups.create()).rejects.toMatchObject({ kind: 'unavailable', code: 'backup_disk_full' });
      await expect(backups.restore(filename, { preview: false })).rejects.toMatchObject(code('backup_disk_full'));
      expect(await home.files()).toEqual([filename]);
      expect(await home.state()).toEqual(before);
      await app.get(SettingsService).set('auto_backup', '1');
      await app.get(AutoBackupService).run();
      expect(await app.get(AlertsService).live()).toContainEqual(expect.stringMatching(/^Backups: .*no room left/));
      await app.get(AutoBackupService).run();
      const { items } = await app.get(EventsService).list({ limit: 10, offset: 0, severity: 'ERROR' });
      expect(items.map(({ action }) => action)).toEqual(['backup_failed']);
    } finally {
      await mustRun(['umount', folder]);
    }
    // Connections were broken off on the way and are made anew.
    expect((await backups.create()).sizeBytes).toBeGreaterThan(64_000);
  });

  it('and the folder is no folder, the error says so', async () => {
    await writeFile(join(app.dataDir, 'backups'), 'x');
    for (const attempt of [() => backups.create(), () => backups.list(), () => backups.preview('a.cwb')]) {
      await expect(attempt()).rejects.toMatchObject({ kind: 'unavailable', code: 'backup_storage_failed' });
    }
    await rm(join(app.dataDir, 'backups'));
    expect(await backups.list()).toEqual([]);
  });
});

describe('the automatic backup', () => {
  let auto: AutoBackupService;
  beforeEach(() => {
    auto = app.get(AutoBackupService);
  });

  it('is made once a day, by whoever comes first, when it is wanted and somebody is there', async () => {
    app.setTime(new Date('2026-03-01T10:00:00Z'));
    await app.get(SettingsService).set('auto_backup', '1');
    await auto.run();
    expect(await home.files()).toEqual([]);
    await app.get(SettingsService).set('auto_backup', '0');
    await home.furnish();
    await auto.run();
    expect(await home.files()).toEqual([]);
    await app.get(SettingsService).set('auto_backup', '1');
    await Promise.all([auto.run(), auto.run(), auto.run()]);
    expect(await backups.list()).toMatchObject([{ reason: 'auto', filename: '20260301T100000000Z-config.cwb' }]);
    app.setTime(new Date('2026-03-01T23:59:59Z'));
    await auto.run();
    const { dataDir } = app;
    const restarted = await startApplication(database.url, { secretKey: KEY, dataDir });
    try {
      restarted.setTime(new Date('2026-03-01T23:59:59Z'));
      await restarted.get(AutoBackupService).run();
      expect(await home.files()).toHaveLength(1);
      app.setTime(new Date('2026-03-02T00:00:00Z'));
      restarted.setTime(new Date('2026-03-02T00:00:00Z'));
      await Promise.all([auto.run(), restarted.get(AutoBackupService).run()]);
      expect(await home.files()).toHaveLength(2);
    } finally {
      await restarted.close();
    }
    expect(await app.get(AlertsService).live()).not.toContainEqual(expect.stringContaining('Backups'));
  });

  it('stays for seven days and four weeks, and those that were asked for stay', async () => {
    await app.get(UsersService).create({ username: 'admin', password: PASSWORD, role: 'admin' });
    app.setTime(new Date('2026-05-25T12:00:00Z'));
    const { filename } = await backups.create();
    await app.get(SettingsService).set('auto_backup', '1');
    for (let day = 0; day < 38; day += 1) {
      app.setTime(new Date(Date.UTC(2026, 4, 25 + day, 3)));
      await auto.run();
    }
    const days = (await backups.list())
      .filter(({ reason }) => reason === 'auto')
      .map(({ filename: name }) => name.slice(4, 8));
    expect(days).toEqual(['0701', '0630', '0629', '0628', '0627', '0626', '0625', '0621', '0614']);
    expect(await home.files()).toContain(filename);
  });
});
