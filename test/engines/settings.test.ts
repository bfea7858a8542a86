import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { DomainError } from '../../src/domain/domain-error.js';
import { settingKeys } from '../../src/domain/settings/settings.registry.js';
import { type AccountsProcess, startAccounts } from '../support/accounts.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { eventually } from '../support/wait.js';

const BOT_TOKEN = '12345678:abcdefgh_ijklmnop-qrstuvwxyz';

describe('settings', () => {
  let database: TestDatabase;
  let here: AccountsProcess;
  let there: AccountsProcess;

  beforeAll(async () => {
    database = await createDatabase();
  });
  afterAll(() => database?.drop());
  beforeEach(async () => {
    here = await startAccounts(database.url);
    there = await startAccounts(database.url);
    await here.source.query('TRUNCATE settings, events');
  });
  afterEach(() => Promise.all([here.close(), there.close()]));

  const events = async () => (await here.events.list({ limit: 50, offset: 0 })).items;

  it('are all there as text before anything was set', async () => {
    const all = await here.settings.all();
    expect(Object.keys(all).sort()).toEqual([...settingKeys].sort());
    expect(all).toMatchObject({
      server_ip: '',
      custom_endpont: '',
      session_token: '********',
      dns: '8.8.8.8',
      admin: '{"user":"","password":""}',
      status: '1',
      alert: '[]',
      reset_time: '0',
      mtu: '1420',
      bandwidth: '0',
      uptime: '0',
      install: '0',
      telegram_bot_status: '0',
      telegram_bot_admin_id: '0',
      telegram_bot_token: '0',
      telegram_bot_prices: '{"per_month":75000,"per_gb":4000}',
      api_tokens: '{}',
      auto_backup: '1',
      expired_client_action: 'disable',
    });
    for (const text of Object.values(all)) expect(typeof text).toBe('string');
  });

  it('are typed for the product, and count at once here and within moments elsewhere', async () => {
    expect(await there.settings.get('mtu')).toBe(1420);
    await here.settings.set('mtu', '1280');
    expect(await here.settings.get('mtu')).toBe(1280);
    await eventually(async () => (await there.settings.get('mtu')) === 1280);
    await here.settings.set('allow_lan', '0');
    await here.settings.set('dns', '1.1.1.1,9.9.9.9');
    await here.settings.set('custom_endpoint', 'vpn.example.org');
    expect(await here.settings.getAll('allow_lan', 'dns', 'custom_endpont')).toEqual({
      allow_lan: false,
      dns: ['1.1.1.1', '9.9.9.9'],
      custom_endpont: 'vpn.example.org',
    });
  });

  it('give clients the endpoint, else the address of the server', async () => {
    expect(await here.settings.endpointHost()).toBeNull();
    await here.settings.set('server_ip', '203.0.113.5');
    expect(await here.settings.endpointHost()).toBe('203.0.113.5');
    await here.settings.set('custom_endpont', 'vpn.example.org');
    expect(await here.settings.endpointHost()).toBe('vpn.example.org');
    await here.settings.set('custom_endpont', '');
    expect(await here.settings.endpointHost()).toBe('203.0.113.5');
  });

  it.each([
    ['nothing', '1', 'setting_unknown'],
    ['constructor', '1', 'setting_unknown'],
    ['bandwidth', '1', 'setting_read_only'],
    ['uptime', '1', 'setting_read_only'],
    ['session_token', 'x', 'setting_read_only'],
    ['install', '1', 'setting_read_only'],
    ['api_tokens', '{}', 'setting_read_only'],
    ['mtu', '9000', 'setting_invalid'],
    ['dns', '8.8.8.8\nPostUp = id', 'setting_invalid'],
    ['admin', 'admin', 'setting_invalid'],
  ])('refuse %s = %j with %s and a sentence', async (key, text, code) => {
    const before = await here.settings.all();
    const error: unknown = await here.settings.set(key, text).catch((failure: unknown) => failure);
    expect(error).toBeInstanceOf(DomainError);
    expect(error).toMatchObject({ kind: 'invalid', code });
    expect((error as DomainError).message.length).toBeGreaterThan(15);
    expect(await here.settings.all()).toEqual(before);
  });

  it('keep a secret sealed, show a mask, and take the mask for no change', async () => {
    await here.settings.set('telegram_bot_token', BOT_TOKEN);
    await here.settings.set('telegram_bot_token', '********');
    expect(await here.settings.get('telegram_bot_token')).toBe(BOT_TOKEN);
    expect((await here.settings.all()).telegram_bot_token).toBe('********');
    const rows = await here.source.query<unknown[]>('SELECT value, encode(sealed, $1) FROM settings', ['escape']);
    expect(JSON.stringify([rows, await events()])).not.toContain('ijklmnop');
    await here.settings.set('telegram_bot_token', '0');
    expect(await here.settings.get('telegram_bot_token')).toBeNull();
    expect((await here.settings.all()).telegram_bot_token).toBe('0');
  });

  it('are recorded with before and after, once for each change', async () => {
    await here.settings.set('mtu', '1300');
    await here.settings.set('mtu', '1300');
    const items = await events();
    expect(items).toHaveLength(1);
    expect(items[0]).toMatchObject({
      type: 'SETTINGS',
      action: 'setting_changed',
      target: 'mtu',
      details: { before: null, after: '1300' },
    });
  });

  it('tell listeners in each process, and where they were written before the change is answered', async () => {
    const heard: string[] = [];
    here.settings.onChange(['mtu', 'allow_lan'], async (keys) => {
      heard.push(`here ${keys.join()} ${await here.settings.get('mtu')}`);
    });
    there.settings.onChange(['mtu'], async (keys) => {
      heard.push(`there ${keys.join()} ${await there.settings.get('mtu')}`);
    });
    await here.settings.set('mtu', '1400');
    expect(heard).toContain('here mtu 1400');
    await eventually(() => heard.includes('there mtu 1400'));
    await here.settings.set('dns', '9.9.9.9');
    expect(heard).toHaveLength(2);
  });

  it('are as they were when a listener says that the change cannot be', async () => {
    await here.settings.set('mtu', '1400');
    const applied: number[] = [];
    here.settings.onChange(['mtu'], async () => {
      applied.push(await here.settings.get('mtu'));
    });
    here.settings.onChange(['mtu'], async () => {
      if ((await here.settings.get('mtu')) === 1500) throw new DomainError('unavailable', 'engine_unavailable', 'down');
    });
    await expect(here.settings.set('mtu', '1500')).rejects.toMatchObject({ code: 'engine_unavailable' });
    expect(await here.settings.get('mtu')).toBe(1400);
    expect(applied).toEqual([1500, 1400]);
    expect((await events())[0]).toMatchObject({ action: 'setting_taken_back', severity: 'WARN' });
  });

  it('show live warnings among the operator’s lines and never store them', async () => {
    here.alerts.register(() => ['The engine is down']);
    here.alerts.register(() => Promise.reject(new Error('broken source')));
    await here.settings.set('alert', '["Maintenance on Friday"]');
    const shown = (await here.settings.all()).alert;
    expect(JSON.parse(shown)).toEqual(['Maintenance on Friday', 'The engine is down']);
    await here.settings.set('alert', shown);
    expect(await here.settings.get('alert')).toEqual(['Maintenance on Friday']);
  });

  it('fall back to the default when what is stored is not valid any more', async () => {
    await here.source.query(`INSERT INTO settings (key, value) VALUES ('mtu', '9000'), ('gone', '1')`);
    expect(await there.settings.get('mtu')).toBe(1420);
  });

  it('have one winner when many write at once', async () => {
    const writers = [here, there, here, there, here, there];
    await Promise.all(writers.map((writer, index) => writer.settings.set('mtu', String(1300 + index))));
    const mtu = await eventually(async () => {
      const [first, second] = await Promise.all([here.settings.get('mtu'), there.settings.get('mtu')]);
      return first === second && first;
    });
    const [row] = await here.source.query<{ value: string }[]>(`SELECT value FROM settings WHERE key = 'mtu'`);
    expect(row!.value).toBe(String(mtu));
  });

  it('are stored with the change that needs them, shown-only ones included', async () => {
    const changes = await here.source.transaction((tx) =>
      here.settings.store({ install: '1', server_ip: '203.0.113.5' }, tx),
    );
    await here.settings.applied(changes);
    expect(await here.settings.get('install')).toBe(true);
    await eventually(() => there.settings.get('install'));
    await here.source.transaction((tx) => here.settings.store({ mtu: '1280' }, tx)).then(() => here.settings.refresh());
    await expect(
      here.source.transaction(async (tx) => {
        await here.settings.store({ mtu: '1500' }, tx);
        throw new Error('no');
      }),
    ).rejects.toThrow('no');
    expect(await here.settings.get('mtu')).toBe(1280);
  });

  it('take their defaults from the environment until they are set', async () => {
    const env = { SYNC_INTERVAL: '60', PUBLIC_URL: 'https://vpn.example.org/', TELEGRAM_BOT_TOKEN: BOT_TOKEN };
    const seeded = await startAccounts(database.url, { env });
    try {
      expect(await seeded.settings.getAll('sync_interval', 'public_url', 'telegram_bot_token')).toEqual({
        sync_interval: 60,
        public_url: 'https://vpn.example.org',
        telegram_bot_token: BOT_TOKEN,
      });
      await seeded.settings.set('sync_interval', '5');
      expect(await seeded.settings.get('sync_interval')).toBe(5);
    } finally {
      await seeded.close();
    }
  });
});
