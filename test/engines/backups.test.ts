import { createHash } from 'node:crypto';
import { mkdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DataSource } from 'typeorm';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ApiTokensService } from '../../src/domain/auth/api-tokens.service.js';
import { AuthService } from '../../src/domain/auth/auth.service.js';
import { TokensService } from '../../src/domain/auth/tokens.service.js';
import { BackupsService } from '../../src/domain/backups/backups.service.js';
import { EventsService } from '../../src/domain/events/events.service.js';
import { SettingsService } from '../../src/domain/settings/settings.service.js';
import { UsageService } from '../../src/domain/usage/usage.service.js';
import { UsersService } from '../../src/domain/users/users.service.js';
import { SecretBox } from '../../src/platform/crypto/secret-box.js';
import { type Application, type ApplicationOptions, startApplication } from '../support/application.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { Household, householdApiToken, householdPassword, sorted } from '../support/household.js';
import { eventually } from '../support/wait.js';

const KEY = 'k'.repeat(40);
const PASSWORD = householdPassword;

let database: TestDatabase;
let app: Application;
let home: Household;
let backups: BackupsService;

const code = (name: string): object => expect.objectContaining({ code: name }) as object;

async function start(options: Partial<ApplicationOptions> = {}): Promise<void> {
  app = await startApplication(database.url, { secretKey: KEY, ...options });
  home = new Household(app);
  backups = app.get(BackupsService);
}

beforeEach(async () => {
  database = await createDatabase();
  await start();
  await app.get(SettingsService).set('auto_backup', '0');
});

afterEach(async () => {
  await app.close();
  await database.drop();
});

describe('a backup', () => {
  it('is one file that nobody else may read, in a list that begins with the newest', async () => {
    await home.furnish();
    app.setTime(new Date('2026-03-01T10:00:00.500Z'));
    const first = await backups.create();
    app.setTime(new Date('2026-03-01T11:00:00Z'));
    const second = await backups.create();
    expect(first).toEqual({
      filename: '20260301T100000500Z-config.cwb',
      sizeBytes: expect.any(Number),
      createdAt: new Date('2026-03-01T10:00:00.500Z'),
      scope: 'config',
      reason: 'manual',
    });
    expect(await backups.list()).toEqual([second, first]);
    expect(await home.files()).toEqual([first.filename, second.filename]);
    const file = await stat(home.fileOf(first.filename));
    expect([file.mode & 0o777, file.size]).toEqual([0o600, first.sizeBytes]);
    expect((await stat(join(app.dataDir, 'backups'))).mode & 0o777).toBe(0o700);
    const content = await readFile(home.fileOf(first.filename), 'latin1');
    for (const secret of ['alice', 'carol', 'ijklmnop', householdApiToken, KEY]) expect(content).not.toContain(secret);
    const download = await backups.download(first.filename);
    const bytes = Buffer.concat((await download.stream.toArray()) as Buffer[]);
    expect([bytes.toString('latin1') === content, download.sizeBytes]).toEqual([true, first.sizeBytes]);
    await backups.remove(first.filename);
    expect(await home.files()).toEqual([second.filename]);
    const actions = (await app.get(EventsService).list({ limit: 10, offset: 0, type: 'BACKUP' })).items;
    expect(actions.map(({ action }) => action)).toEqual(['backup_deleted', 'backup_created', 'backup_created']);
  });

  it('brings everything back, and usage and customers stay what they are', async () => {
    const { alice } = await home.furnish();
    const before = await home.view();
    const { filename } = await backups.create();
    await home.use(alice, 3000);
    await home.turmoil();
    const { safetyFilename, preview } = await backups.restore(filename, { preview: false });
    const after = await home.view();
    const [admin, carol, dave, eve, ...rest] = after['users'] as { username: string; is_active: boolean }[];
    expect([admin, carol]).toEqual(before['users']);
    expect([dave, eve, ...rest]).toMatchObject([
      { username: 'dave', is_active: true },
      { username: 'eve', is_active: false },
    ]);
    expect({ ...after, users: [] }).toEqual({ ...before, users: [] });
    expect(await home.used(alice)).toBe(3000n);
    expect(preview.parts.users.count).toBe(3);
    // Nothing of the others is left, and the state before is kept.
    expect(await home.sql('SELECT 1 FROM clients WHERE name = $1', ['zoe'])).toEqual([]);
    expect(await home.files()).toEqual(sorted([filename, safetyFilename!]));
    expect((await backups.list())[0]).toMatchObject({ filename: safetyFilename, reason: 'pre_restore' });
    const held = await backups.preview(safetyFilename!);
    expect(held.parts.wireguard.items).toContainEqual({ kind: 'client', name: 'zoe' });
    // And back again.
    await backups.restore(safetyFilename!, { preview: false });
    expect((await home.view())['clients']).toMatchObject([{ name: 'zoe', number: 0 }]);
    expect(await home.sql('SELECT number FROM wireguard_interfaces ORDER BY 1')).toEqual([
      { number: 0 },
      { number: 2 },
    ]);
    expect(await app.get(AuthService).login({ username: 'eve', password: PASSWORD, ip: null })).toMatchObject({
      role: 'admin',
    });
  });

  it('brings back only the parts that are asked for', async () => {
    await home.furnish();
    const before = await home.view();
    const { filename } = await backups.create();
    await home.turmoil();
    const between = await home.view();
    await backups.restore(filename, { preview: false, parts: ['settings'] });
    expect(await home.view()).toEqual({
      ...between,
      settings: before['settings'],
      configs: expect.anything() as unknown,
    });
    await backups.restore(filename, { preview: false, parts: ['wireguard', 'inbounds'] });
    const after = await home.view();
    expect(after['users']).toEqual(between['users']);
    // Whose owner is gone stays without one.
    expect(after['clients']).toMatchObject([{ name: 'alice', owner: null }, { name: 'bert' }]);
    await expect(backups.restore(filename, { preview: false, parts: ['money'] })).rejects.toMatchObject({
      kind: 'invalid',
      code: 'backup_part_unknown',
    });
  });

  it('does not give used traffic back to a client that was deleted and is restored', async () => {
    const { alice, bert } = await home.furnish();
    await home.use(alice, 5000);
    await home.use(bert, 70);
    const { filename } = await backups.create();
    await home.sql('DELETE FROM clients WHERE id = $1', [alice]);
    await app.get(UsageService).retire([alice], new Date());
    const total = await app.get(UsageService).total('wireguard');
    await backups.restore(filename, { preview: false });
    expect([await home.used(alice), await home.used(bert)]).toEqual([5000n, 70n]);
    expect(await app.get(UsageService).total('wireguard')).toEqual(total);
    expect(await home.sql('SELECT ended_reason FROM clients WHERE id = $1', [alice])).toEqual([
      { ended_reason: 'limited' },
    ]);
    await app.get(UsageService).bookSamples(new Date());
    expect(await home.sql(`SELECT sum(rx)::int AS rx FROM usage_days WHERE subject_id = $1`, [alice])).toEqual([
      { rx: 5000 },
    ]);
  });

  it('ends who is past the date by now', async () => {
    const { bert } = await home.furnish();
    await home.sql(`UPDATE clients SET expires_at = now() + interval '1 hour' WHERE id = $1`, [bert]);
    const { filename } = await backups.create();
    app.setTime(new Date(Date.now() + 7_200_000));
    await backups.restore(filename, { preview: false });
    expect(await home.sql('SELECT ended_reason FROM clients WHERE id = $1', [bert])).toEqual([
      { ended_reason: 'expired' },
    ]);
  });

  it('revives no token that was ended, and leaves one alone whose user is the same', async () => {
    await home.furnish();
    const [users, tokens] = [app.get(UsersService), app.get(TokensService)];
    const issue = async (name: string) =>
      tokens.issue((await users.findByUsername(name))!, { typ: 'access', ttlSeconds: 3600 }).token;
    const { filename } = await backups.create();
    const [admin, carol] = [await issue('admin'), await issue('carol')];
    await backups.restore(filename, { preview: false });
    expect(await tokens.verify(admin, 'access')).toMatchObject({ name: 'admin' });
    await users.changePassword((await users.findByUsername('admin'))!.id, 'battery staple');
    await users.remove((await users.findByUsername('carol'))!.id);
    const newer = await issue('admin');
    await backups.restore(filename, { preview: false });
    for (const token of [admin, carol, newer]) {
      await eventually(async () => (await tokens.verify(token, 'access').catch(() => null)) === null || null);
    }
    expect(await app.get(ApiTokensService).find(householdApiToken)).toMatchObject({ name: 'token:bot' });
  });

  it('never locks everybody out', async () => {
    const { filename } = await backups.create();
    await home.furnish();
    await expect(backups.restore(filename, { preview: false })).rejects.toMatchObject(code('backup_without_admin'));
    expect(await home.files()).toEqual([filename]);
    await backups.restore(filename, { preview: false, parts: ['wireguard'] });
    expect(await home.sql('SELECT 1 FROM clients')).toEqual([]);
  });

  it('refuses a user whose name somebody else has now', async () => {
    await home.furnish();
    const { filename } = await backups.create();
    const users = app.get(UsersService);
    await users.rename((await users.findByUsername('carol'))!.id, 'caroline');
    await users.create({ username: 'carol', password: PASSWORD, role: 'user' });
    const before = await home.state();
    await expect(backups.restore(filename, { preview: false })).rejects.toMatchObject({
      kind: 'conflict',
      code: 'backup_conflict',
      message: expect.stringContaining('name') as string,
    });
    expect(await home.state()).toEqual(before);
  });

  it('survives other settings of the database and a table without rows', async () => {
    await home.sql(`ALTER DATABASE ${database.name} SET DateStyle = 'German, DMY'`);
    await home.sql(`ALTER DATABASE ${database.name} SET bytea_output = 'escape'`);
    await home.furnish();
    await app.get(ApiTokensService).remove('bot');
    await app.close();
    await start();
    const before = await home.state();
    const { filename } = await backups.create();
    await backups.restore(filename, { preview: false });
    const { interfaces: _interfaces, ...after } = await home.state();
    expect(before).toMatchObject(after);
  });

  it('of an older schema fits: columns that are gone are left out, new ones get their default', async () => {
    await home.furnish();
    const { filename } = await backups.create();
    await home.sql(`ALTER TABLE clients DROP COLUMN note, ADD COLUMN colour text NOT NULL DEFAULT 'blue'`);
    await home.sql(`ALTER TABLE users ADD COLUMN language text NOT NULL DEFAULT 'en'`);
    await home.sql('DELETE FROM clients');
    await home.sql(`DELETE FROM users WHERE username = 'carol'`);
    await backups.restore(filename, { preview: false });
    expect(await home.sql('SELECT name, colour FROM clients ORDER BY name')).toEqual([
      { name: 'alice', colour: 'blue' },
      { name: 'bert', colour: 'blue' },
    ]);
    expect(await home.sql('SELECT username, language FROM users ORDER BY username')).toEqual([
      { username: 'admin', language: 'en' },
      { username: 'carol', language: 'en' },
    ]);
  });
});

describe('a preview', () => {
  it('names every part and changes nothing, and a restore is one unless it is told', async () => {
    await home.furnish();
    const { filename, createdAt } = await backups.create();
    await home.turmoil();
    const before = await home.state();
    const preview = await backups.preview(filename);
    expect(preview).toEqual({
      filename,
      createdAt,
      parts: {
        users: {
          count: 3,
          items: [
            { kind: 'user', name: 'admin' },
            { kind: 'user', name: 'carol' },
            { kind: 'api_token', name: 'bot' },
          ],
        },
        inbounds: { count: 0, items: [] },
        wireguard: {
          count: 4,
          items: [
            { kind: 'interface', name: 'wg0' },
            { kind: 'interface', name: 'wg1' },
            { kind: 'client', name: 'alice' },
            { kind: 'client', name: 'bert' },
          ],
        },
        settings: {
          count: 5,
          items: expect.arrayContaining([
            { kind: 'setting', name: 'dns' },
            { kind: 'setting', name: 'xray_dashboard' },
          ]) as unknown,
        },
      },
    });
    const restored = await backups.restore(filename, { parts: ['users'] });
    expect(restored.safetyFilename).toBeNull();
    expect(restored.preview.parts).toEqual({
      users: preview.parts.users,
      inbounds: { count: 0, items: [] },
      wireguard: { count: 0, items: [] },
      settings: { count: 0, items: [] },
    });
    expect(await home.state()).toEqual(before);
    expect(await home.files()).toEqual([filename]);
  });
});

describe('a file', () => {
  it('is found only under a name that the list has', async () => {
    const { filename } = await backups.create();
    await symlink('/etc/passwd', home.fileOf('link.cwb'));
    await mkdir(home.fileOf('folder.cwb'));
    await writeFile(home.fileOf('notes.txt'), 'x');
    const names = [
      '',
      '.',
      '..',
      '../secret.key',
      `../backups/${filename}`,
      `./${filename}`,
      `${filename}\0`,
      'link.cwb',
    ];
    for (const name of [...names, 'folder.cwb', 'notes.txt', 'x'.repeat(5000), home.fileOf(filename)]) {
      for (const attempt of [
        () => backups.preview(name),
        () => backups.restore(name, { preview: false }),
        () => backups.download(name),
        () => backups.remove(name),
      ]) {
        await expect(attempt(), name.slice(0, 40)).rejects.toMatchObject({
          kind: 'not_found',
          code: 'backup_not_found',
        });
      }
    }
    expect((await backups.list()).map((item) => item.filename)).toEqual([filename]);
  });

  it('that was altered in any byte is refused, also when its checksum was made to fit', async () => {
    await home.furnish();
    const { filename } = await backups.create();
    const whole = await readFile(home.fileOf(filename));
    const name = 'altered.cwb';
    const refused = async (bytes: Buffer, what: string): Promise<void> => {
      await writeFile(home.fileOf(name), bytes);
      await expect(backups.preview(name), what).rejects.toMatchObject({
        code: expect.stringMatching(/^backup_(damaged|newer|key_unknown)$/) as string,
      });
    };
    for (let at = 0; at < whole.length; at += at < 32 || at > whole.length - 48 ? 1 : 13) {
      const altered = Buffer.from(whole);
      altered[at] = altered[at]! ^ (1 << (at % 8));
      await refused(altered, `byte ${at}`);
      if (at >= whole.length - 32) continue;
      createHash('sha256')
        .update(altered.subarray(0, -32))
        .digest()
        .copy(altered, altered.length - 32);
      await refused(altered, `byte ${at}, checksum made to fit`);
    }
    await writeFile(home.fileOf(name), whole);
    expect((await backups.preview(name)).parts.users.count).toBe(3);
  });

  it('that was cut short, or got longer, is refused and can be deleted', async () => {
    await home.furnish();
    const { filename } = await backups.create();
    const whole = await readFile(home.fileOf(filename));
    const name = 'short.cwb';
    for (const length of [0, 1, 8, 13, 14, 200, 1000, whole.length - 41, whole.length - 32, whole.length - 1]) {
      await writeFile(home.fileOf(name), whole.subarray(0, length));
      await expect(backups.restore(name, { preview: false }), String(length)).rejects.toMatchObject({
        kind: 'refused',
        code: 'backup_damaged',
      });
    }
    await writeFile(home.fileOf(name), Buffer.concat([whole, Buffer.from('x')]));
    await expect(backups.preview(name)).rejects.toMatchObject(code('backup_damaged'));
    await writeFile(home.fileOf(name), 'nonsense');
    expect(await backups.list()).toContainEqual(expect.objectContaining({ filename: name, reason: null }));
    await backups.remove(name);
    expect(await home.files()).toEqual([filename]);
  });

  it('of a newer format or a newer schema is refused by name', async () => {
    await home.sql(`INSERT INTO migrations ("timestamp", name) VALUES (9999999999999, 'Later9999999999999')`);
    const { filename } = await backups.create();
    await expect(backups.preview(filename)).rejects.toMatchObject({
      kind: 'refused',
      code: 'backup_newer',
      message: expect.stringContaining('Later9999999999999') as string,
    });
    const newer = await readFile(home.fileOf(filename));
    newer.writeUInt16BE(2, 8);
    await writeFile(home.fileOf(filename), newer);
    await expect(backups.preview(filename)).rejects.toMatchObject({
      code: 'backup_newer',
      message: expect.stringContaining('format 2') as string,
    });
  });
});

describe('on another machine', () => {
  let elsewhere: TestDatabase;
  let other: Application;
  const others = () => other.get(BackupsService);

  beforeEach(async () => {
    elsewhere = await createDatabase();
  });
  afterEach(async () => {
    await other?.close();
    await elsewhere.drop();
  });

  /** Another machine with an admin and a client of its own, and the file. */
  async function carry(filename: string, env: Record<string, string> = {}): Promise<void> {
    other = await startApplication(elsewhere.url, { secretKey: 'z'.repeat(40), env });
    await other.get(SettingsService).set('auto_backup', '0');
    await other.get(UsersService).create({ username: 'local', password: PASSWORD, role: 'admin' });
    await new Household(other).addInterface(0);
    await mkdir(join(other.dataDir, 'backups'), { recursive: true });
    await writeFile(join(other.dataDir, 'backups', filename), await readFile(home.fileOf(filename)));
  }

  it('the file alone does not open, and with the recovery phrase everything is there', async () => {
    await home.furnish();
    const before = await home.view();
    const { filename } = await backups.create();
    await carry(filename);
    const untouched = await new Household(other).state();
    await expect(others().preview(filename)).rejects.toMatchObject({ kind: 'refused', code: 'backup_key_unknown' });
    for (const phrase of [other.phrase, 'twelve words that are none', '', `${app.phrase} more`]) {
      await expect(others().restore(filename, { preview: false, phrase })).rejects.toMatchObject(
        code('backup_key_unknown'),
      );
    }
    expect(await new Household(other).state()).toEqual(untouched);
    await others().restore(filename, { preview: false, phrase: app.phrase.toUpperCase() });
    const after = await new Household(other).view();
    expect(after['users']).toEqual([
      ...(before['users'] as unknown[]),
      expect.objectContaining({ username: 'local', is_active: false }),
    ]);
    expect({ ...after, users: [] }).toEqual({ ...before, users: [] });
    expect(await other.get(ApiTokensService).find(householdApiToken)).toMatchObject({ name: 'token:bot' });
    // What was sealed there is sealed with the key of here.
    const [row] = await other.get(DataSource).query<{ private_key: Buffer }[]>('SELECT private_key FROM clients');
    expect(other.get(SecretBox).needsRotation(row!.private_key)).toBe(false);
  });

  it('a passphrase opens it as well', async () => {
    await home.furnish();
    await app.close();
    await start({ env: { BACKUP_PASSPHRASE: 'three short words' } });
    const { filename } = await backups.create();
    await carry(filename, { BACKUP_PASSPHRASE: 'three other words' });
    await expect(others().preview(filename)).rejects.toMatchObject(code('backup_key_unknown'));
    await other.close();
    other = await startApplication(elsewhere.url, {
      secretKey: 'z'.repeat(40),
      env: { BACKUP_PASSPHRASE: 'three short words' },
      dataDir: app.dataDir,
    });
    expect((await others().preview(filename)).parts.users.count).toBe(3);
  });

  it('after the secret key was changed, backups from before still open', async () => {
    await home.furnish();
    const before = await home.view();
    const { filename } = await backups.create();
    const { dataDir } = app;
    other = await startApplication(elsewhere.url, { secretKey: 'n'.repeat(40), previousKey: KEY, dataDir });
    await others().restore(filename, { preview: false });
    expect((await new Household(other).view())['configs']).toEqual(before['configs']);
  });
});

it('ten thousand clients', { timeout: 120_000 }, async () => {
  await home.furnish();
  await home.addInterface(9);
  await home.sql(`UPDATE wireguard_interfaces SET address = '10.128.0.1/16', range = '10.128.0.0/16' WHERE number = 9`);
  const box = app.get(SecretBox);
  const rows = Array.from({ length: 10_000 }, (_, index) => ({
    name: `client ${index}`,
    key: createHash('sha256').update(String(index)).digest('base64'),
    sealed: box.seal('wireguard-preshared-key', String(index)).toString('hex'),
  }));
  await home.sql(
    `INSERT INTO clients (interface_id, name, address, public_key, private_key, preshared_key)
     SELECT i.id, r.name, '10.128.0.2'::inet + row_number() OVER (), r.key, decode(r.sealed, 'hex'), decode(r.sealed, 'hex')
       FROM wireguard_interfaces i, jsonb_to_recordset($1::jsonb) AS r (name text, key text, sealed text)
      WHERE i.number = 9`,
    [JSON.stringify(rows)],
  );
  const measure = async <T>(what: string, work: () => Promise<T>): Promise<T> => {
    const began = performance.now();
    const value = await work();
    process.stdout.write(`${what}: ${(performance.now() - began).toFixed(0)} ms\n`);
    return value;
  };
  const { filename, sizeBytes } = await measure('backup', () => backups.create());
  process.stdout.write(`${(sizeBytes / 1e6).toFixed(1)} MB\n`);
  const preview = await measure('preview', () => backups.preview(filename));
  expect(preview.parts.wireguard).toMatchObject({ count: 10_005, items: { length: 10_000 } });
  const all = () => home.sql(`SELECT md5(string_agg(c::text, ',' ORDER BY id)) FROM clients c`);
  const before = await all();
  await measure('restore of the same', () => backups.restore(filename, { preview: false }));
  await home.sql('DELETE FROM clients');
  await measure('restore of all', () => backups.restore(filename, { preview: false }));
  expect(await all()).toEqual(before);
});
