import { createHmac } from 'node:crypto';
import { generateSync } from 'otplib';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { SecretBox } from '../../src/platform/crypto/secret-box.js';
import { type AccountsProcess, startAccounts, testSecretKey } from '../support/accounts.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { eventually } from '../support/wait.js';

const PASSWORD = 'correct horse';
const IP = '192.0.2.1';

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
  await here.source.query('TRUNCATE users, api_tokens, revoked_sessions, settings, events CASCADE');
});
afterEach(() => Promise.all([here.close(), there.close()]));

/** A process with another environment, closed afterwards. */
async function withEnv<T>(env: Record<string, string>, work: (process: AccountsProcess) => Promise<T>): Promise<T> {
  const process = await startAccounts(database.url, { env });
  try {
    return await work(process);
  } finally {
    await process.close();
  }
}

const admin = (username = 'admin') => here.users.create({ username, password: PASSWORD, role: 'admin' });
const customer = (username = 'bob') => here.users.create({ username, password: PASSWORD, role: 'user' });
const login = (username: string, password: string, more = {}) =>
  here.auth.login({ username, password, ip: IP, ...more });
const actions = async () => (await here.events.list({ limit: 100, offset: 0 })).items.map((item) => item.action);

describe('the first admin', () => {
  it('comes from ADMIN_PASSWORD on an empty database, and from nothing afterwards', async () => {
    const env = { ADMIN_USERNAME: 'root', ADMIN_PASSWORD: PASSWORD };
    await withEnv(env, async (process) => {
      expect(await process.users.ensureFirstAdmin()).toMatchObject({ username: 'root', role: 'admin' });
      expect(await process.users.ensureFirstAdmin()).toBeNull();
    });
    await withEnv({ ADMIN_PASSWORD: 'another password' }, (process) => process.users.ensureFirstAdmin());
    expect(await here.users.countAdmins()).toBe(1);
    expect(await login('root', PASSWORD)).toMatchObject({ username: 'root' });
  });

  it('comes from WG_PASSWORD too, however short, with an alert until it is changed', async () => {
    const env = { WG_PASSWORD: 'abc', WG_HOST: '203.0.113.5', WG_DEFAULT_DNS: '9.9.9.9' };
    await withEnv(env, (process) => process.users.ensureFirstAdmin());
    const user = await login('admin', 'abc');
    expect(await here.alerts.live()).toEqual([expect.stringContaining('fewer than 8 characters')]);
    expect(await here.settings.getAll('dns', 'server_ip', 'custom_endpont', 'persistent_keepalive')).toEqual({
      dns: ['9.9.9.9'],
      server_ip: '203.0.113.5',
      custom_endpont: '203.0.113.5',
      persistent_keepalive: 0,
    });
    expect(await here.auth.loginByPassword({ password: 'abc', ip: IP })).toMatchObject({ id: user.id });
    await here.users.changePassword(user.id, PASSWORD);
    expect(await here.alerts.live()).toEqual([]);
  });

  it('is not made without a password in the environment', async () => {
    expect(await here.users.ensureFirstAdmin()).toBeNull();
    expect(await here.users.countAdmins()).toBe(0);
  });

  it('is one, whoever asks at once', async () => {
    const tries = [here, there, here, there].map((process, index) =>
      process.users.createFirstAdmin({ username: `admin${index}`, password: PASSWORD }),
    );
    const results = await Promise.allSettled(tries);
    expect(results.filter((result) => result.status === 'fulfilled')).toHaveLength(1);
    for (const result of results) {
      if (result.status === 'rejected') expect(result.reason).toMatchObject({ kind: 'conflict', code: 'admin_exists' });
    }
    expect(await here.users.countAdmins()).toBe(1);
  });

  it('is one, when several processes start at once', async () => {
    const env = { ADMIN_PASSWORD: PASSWORD };
    await withEnv(env, (first) =>
      withEnv(env, async (second) => {
        const made = await Promise.all([first.users.ensureFirstAdmin(), second.users.ensureFirstAdmin()]);
        expect(made.filter((user) => user !== null)).toHaveLength(1);
      }),
    );
    expect(await here.users.countAdmins()).toBe(1);
  });
});

describe('a user', () => {
  it('has a name of 1 to 150 characters, on one line, that is nobody else’s in the event log', async () => {
    for (const username of ['', 'x'.repeat(151), 'a\nb', ' a', 'a\u202eb', 'system', 'token:x']) {
      await expect(customer(username), username).rejects.toMatchObject({ kind: 'invalid', code: 'username_invalid' });
    }
    await customer('x'.repeat(150));
    await customer('Имя пользователя +1@example.org');
  });

  it('needs a password of 8 to 1024 characters, unless weak ones are allowed', async () => {
    const make = (process: AccountsProcess, password: string) =>
      process.users.create({ username: `u${password.length}`, password, role: 'user' });
    await expect(make(here, '1234567')).rejects.toMatchObject({ code: 'password_too_short' });
    await expect(make(here, 'x'.repeat(1025))).rejects.toMatchObject({ code: 'password_too_long' });
    await make(here, '12345678');
    await withEnv({ ALLOW_WEAK_PASSWORDS: 'true' }, async (process) => {
      await expect(make(process, '')).rejects.toMatchObject({ code: 'password_too_short' });
      expect(await make(process, 'admin')).toMatchObject({ passwordWeak: true });
    });
  });

  it('has a name that nobody else has', async () => {
    const [first] = [await customer(), await customer('alice')];
    await expect(customer()).rejects.toMatchObject({ kind: 'conflict', code: 'username_taken' });
    await expect(here.users.rename(first.id, 'alice')).rejects.toMatchObject({ code: 'username_taken' });
    await here.users.rename(first.id, 'robert');
    expect(await here.users.findByUsername('bob')).toBeNull();
    expect(await login('robert', PASSWORD)).toMatchObject({ id: first.id });
  });

  it('who is the last active admin stays one, whatever is tried', async () => {
    const [first, second] = [await admin(), await admin('second')];
    const results = await Promise.allSettled([
      here.users.setActive(first.id, false),
      there.users.setActive(second.id, false),
      here.users.setRole(first.id, 'user'),
      there.users.remove(second.id),
    ]);
    expect(results.some((result) => result.status === 'rejected')).toBe(true);
    const [{ count }] = await here.source.query<[{ count: string }]>(
      `SELECT count(*) FROM users WHERE role = 'admin' AND is_active`,
    );
    expect(count).toBe('1');
    const last = (await here.users.firstAdmin())!;
    await expect(here.users.setActive(last.id, false)).rejects.toMatchObject({ kind: 'conflict', code: 'last_admin' });
    await expect(here.users.setRole(last.id, 'user')).rejects.toMatchObject({ code: 'last_admin' });
    await expect(here.users.remove(last.id)).rejects.toMatchObject({ code: 'last_admin' });
    await expect(here.users.remove(999)).rejects.toMatchObject({ kind: 'not_found', code: 'user_not_found' });
  });

  it('who is the first admin is changed through the setting, and the mask changes nothing', async () => {
    const { id } = await admin();
    const shown = (await here.settings.all()).admin;
    expect(shown).toBe('{"user":"admin","password":"********"}');
    await here.settings.set('admin', shown);
    expect((await here.users.findById(id))!.tokenVersion).toBe(1);
    await here.settings.set('admin', '{"user":"chief","password":"********"}');
    expect(await login('chief', PASSWORD)).toMatchObject({ id });
    await here.settings.set('admin', '{"user":"chief","password":"battery staple"}');
    expect(await login('chief', 'battery staple')).toMatchObject({ id });
    await expect(here.settings.set('admin', '{"password":"short"}')).rejects.toMatchObject({
      code: 'password_too_short',
    });
    for (const text of ['[]', '{}', '{"user":1}', '{"role":"admin"}', 'null']) {
      await expect(here.settings.set('admin', text)).rejects.toMatchObject({ code: 'setting_invalid' });
    }
    const seen = JSON.stringify((await here.events.list({ limit: 50, offset: 0 })).items);
    expect(seen).not.toContain('battery');
  });
});

describe('a login', () => {
  it('gives the user, and the same refusal for every other reason', async () => {
    const user = await admin();
    await customer();
    const off = await customer('off');
    await here.users.setActive(off.id, false);
    expect(await login('admin', PASSWORD)).toMatchObject({ id: user.id, username: 'admin' });
    for (const [username, password, more] of [
      ['admin', 'wrong password', {}],
      ['nobody', PASSWORD, {}],
      ['off', PASSWORD, {}],
      ['bob', PASSWORD, { role: 'admin' }],
      ['ad\0min', PASSWORD, {}],
      ['x'.repeat(5000), PASSWORD, {}],
      ['admin', 'y'.repeat(5000), {}],
      ['', '', {}],
    ] as const) {
      await expect(login(username, password, more)).rejects.toMatchObject({
        kind: 'unauthenticated',
        code: 'wrong_credentials',
        data: {},
      });
    }
  });

  it('waits after five failures, also for a name that nobody has', async () => {
    await admin();
    for (const username of ['admin', 'nobody']) {
      for (let index = 0; index < 5; index += 1) {
        await expect(login(username, 'wrong')).rejects.toMatchObject({ code: 'wrong_credentials' });
      }
      const refusal = { kind: 'limited', code: 'login_limited', data: { retryAfterSeconds: 30 } };
      await expect(login(username, PASSWORD)).rejects.toMatchObject(refusal);
    }
    expect(await login('admin', PASSWORD, { ip: '192.0.2.2' })).toMatchObject({ username: 'admin' });
    here.clock.advance(30_000);
    expect(await login('admin', PASSWORD)).toMatchObject({ username: 'admin' });
  });

  it('is recorded by name when it failed for somebody, and never with what nobody is called', async () => {
    await admin();
    await login('my secret password', 'x').catch(() => undefined);
    await login('admin', 'x').catch(() => undefined);
    await login('admin', PASSWORD);
    await eventually(async () => (await actions()).includes('login_failed'));
    const { items } = await here.events.list({ limit: 50, offset: 0 });
    expect(items.filter((item) => item.action === 'login_failed')).toHaveLength(1);
    expect(items.find((item) => item.action === 'login')).toMatchObject({ actor: 'admin', target: 'admin' });
    expect(JSON.stringify(items)).not.toContain('my secret');
  });

  it('asks for the second factor once that is on, and each code counts once', async () => {
    const user = await admin();
    const { secret, uri } = await here.totp.begin(user.id);
    expect(uri).toContain('otpauth://totp/');
    const code = () => generateSync({ secret, epoch: Math.floor(here.clock.nowMs() / 1000) });
    await login('admin', PASSWORD);
    await expect(here.totp.confirm(user.id, '12345')).rejects.toMatchObject({ code: 'totp_code_wrong' });
    await here.totp.confirm(user.id, code());
    await expect(here.totp.begin(user.id)).rejects.toMatchObject({ code: 'totp_enabled_already' });
    await expect(login('admin', PASSWORD)).rejects.toMatchObject({ kind: 'unauthenticated', code: 'totp_required' });
    await expect(login('admin', 'wrong', { totp: code() })).rejects.toMatchObject({ code: 'wrong_credentials' });
    // The code that confirmed is used up.
    await expect(login('admin', PASSWORD, { totp: code() })).rejects.toMatchObject({ code: 'totp_wrong' });
    here.clock.advance(30_000);
    const both = await Promise.allSettled([
      login('admin', PASSWORD, { totp: code() }),
      login('admin', PASSWORD, { totp: code() }),
    ]);
    expect(both.map((result) => result.status).sort()).toEqual(['fulfilled', 'rejected']);
    here.clock.advance(30_000);
    const confirmation = { userId: user.id, password: PASSWORD, ip: IP };
    await expect(here.auth.disableOwnTotp(confirmation)).rejects.toMatchObject({ code: 'totp_required' });
    await here.auth.disableOwnTotp({ ...confirmation, totp: code() });
    await login('admin', PASSWORD);
    const [row] = await here.source.query<unknown[]>('SELECT totp_secret FROM users');
    expect(row).toEqual({ totp_secret: null });
  });

  it('by password alone is that of the user in the setting, the first admin by default', async () => {
    await admin();
    const other = await here.users.create({ username: 'bot', password: 'battery staple', role: 'admin' });
    const byPassword = (password: string) => here.auth.loginByPassword({ password, ip: IP });
    expect(await byPassword(PASSWORD)).toMatchObject({ username: 'admin' });
    await expect(byPassword('battery staple')).rejects.toMatchObject({ code: 'wrong_credentials' });
    await here.settings.set('wg_easy_user', 'bot');
    expect(await byPassword('battery staple')).toMatchObject({ id: other.id });
    await here.settings.set('wg_easy_user', 'nobody');
    await expect(byPassword(PASSWORD)).rejects.toMatchObject({ code: 'wrong_credentials' });
  });
});

describe('a token', () => {
  const hour = { typ: 'access', ttlSeconds: 3600 } as const;
  const invalid = { kind: 'unauthenticated', code: 'token_invalid' };

  it('says who it is, in every process, until it expires', async () => {
    const user = await admin();
    const issued = here.tokens.issue(user, hour);
    for (const process of [here, there]) {
      expect(await process.auth.authenticate(issued.token)).toEqual({
        kind: 'user',
        userId: user.id,
        name: 'admin',
        role: 'admin',
        scope: 'full',
        sessionId: issued.sessionId,
        expiresAt: issued.expiresAt,
      });
    }
    here.clock.advance(3_599_000);
    await here.tokens.verify(issued.token, 'access');
    here.clock.advance(2_000);
    await expect(here.auth.authenticate(issued.token)).rejects.toMatchObject(invalid);
  });

  it('of one kind is refused as the other', async () => {
    const user = await admin();
    const refresh = here.tokens.issue(user, { typ: 'refresh', ttlSeconds: 60 }).token;
    await here.tokens.verify(refresh, 'refresh');
    await expect(here.tokens.verify(refresh, 'access')).rejects.toMatchObject(invalid);
    await expect(here.auth.authenticate(refresh)).rejects.toMatchObject(invalid);
    const access = here.tokens.issue(user, hour).token;
    await expect(here.tokens.verify(access, 'refresh')).rejects.toMatchObject(invalid);
  });

  it('is refused when it was changed, signed otherwise or not signed at all', async () => {
    const user = await admin();
    const { token } = here.tokens.issue(user, hour);
    const [header, payload, signature] = token.split('.') as [string, string, string];
    const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const claims = JSON.parse(Buffer.from(payload, 'base64url').toString()) as Record<string, unknown>;
    const key = here.secretBox.deriveKey('jwt');
    const signed = (head: object, body: object, algorithm = 'sha256') => {
      const text = `${encode(head)}.${encode(body)}`;
      return `${text}.${createHmac(algorithm, key).update(text).digest('base64url')}`;
    };
    const head = { alg: 'HS256', typ: 'JWT' };
    expect(await here.tokens.verify(signed(head, claims), 'access')).toMatchObject({ name: 'admin' });
    for (const forged of [
      '',
      'x',
      'a.b.c',
      `${header}.${payload}.`,
      `${header}.${encode({ ...claims, role: 'user' })}.${signature}`,
      `${encode({ alg: 'none' })}.${payload}.`,
      signed({ alg: 'HS512', typ: 'JWT' }, claims, 'sha512'),
      signed(head, { ...claims, iss: 'somebody' }),
      signed(head, { ...claims, ver: 2 }),
      signed(head, { ...claims, sub: '999' }),
      signed(head, { ...claims, sub: '1 OR 1=1' }),
      signed(head, { ...claims, jti: 'x' }),
      signed(head, { ...claims, exp: undefined }),
      'x'.repeat(100_000),
    ]) {
      await expect(here.auth.authenticate(forged), forged.slice(0, 60)).rejects.toMatchObject(invalid);
    }
    const other = new SecretBox('another secret key of thirty-two characters');
    const stranger = await startAccounts(database.url, { secretBox: other });
    await expect(stranger.auth.authenticate(token)).rejects.toMatchObject(invalid);
    await stranger.close();
  });

  it.each<[string, (process: AccountsProcess, id: number) => Promise<void>]>([
    ['the password is changed', (process, id) => process.users.changePassword(id, 'battery staple')],
    ['the user is deactivated', (process, id) => process.users.setActive(id, false)],
    ['the role is changed', (process, id) => process.users.setRole(id, 'admin')],
    ['the user is deleted', (process, id) => process.users.remove(id)],
  ])('ends at once when %s', async (_, change) => {
    await admin();
    const user = await customer();
    const { token } = here.tokens.issue(user, hour);
    await Promise.all([here.auth.authenticate(token), there.auth.authenticate(token)]);
    await change(here, user.id);
    await expect(here.auth.authenticate(token)).rejects.toMatchObject(invalid);
    // The clock stands still: only the notification can have told the other process.
    await eventually(() =>
      there.auth.authenticate(token).then(
        () => false,
        () => true,
      ),
    );
  });

  it('of a user who was deactivated stays dead when the user is activated again', async () => {
    const user = await customer();
    const { token } = here.tokens.issue(user, hour);
    await here.users.setActive(user.id, false);
    await here.users.setActive(user.id, true);
    await expect(here.auth.authenticate(token)).rejects.toMatchObject(invalid);
  });

  it('that was logged out is dead everywhere, and the user’s others are not', async () => {
    const user = await admin();
    const [one, two] = [here.tokens.issue(user, hour), here.tokens.issue(user, hour)];
    const principal = await here.auth.authenticate(one.token);
    await there.auth.authenticate(one.token);
    await here.tokens.revoke(principal);
    await here.tokens.revoke(principal);
    await expect(here.auth.authenticate(one.token)).rejects.toMatchObject(invalid);
    await eventually(() =>
      there.auth.authenticate(one.token).then(
        () => false,
        () => true,
      ),
    );
    await there.auth.authenticate(two.token);
    expect((await actions()).filter((action) => action === 'logout')).toHaveLength(1);
    here.clock.advance(3_601_000);
    await here.tokens.purge();
    expect(await here.source.query('SELECT * FROM revoked_sessions')).toEqual([]);
  });

  it('is checked without a query each time', async () => {
    const user = await admin();
    const { token } = here.tokens.issue(user, hour);
    await here.auth.authenticate(token);
    const query = here.source.query.bind(here.source);
    let queries = 0;
    here.source.query = ((...args: Parameters<typeof query>) => ((queries += 1), query(...args))) as typeof query;
    await Promise.all(Array.from({ length: 100 }, () => here.auth.authenticate(token)));
    expect(queries).toBe(0);
    here.clock.advance(5_000);
    await Promise.all(Array.from({ length: 100 }, () => here.auth.authenticate(token)));
    expect(queries).toBe(1);
  });
});

describe('an API token', () => {
  const VALUE = 'a-token-of-sixteen-or-more';

  it('opens with the rights of an admin, can be shown again, and ends when it is deleted', async () => {
    await here.apiTokens.upsert({ name: 'telegram_bot_api', token: VALUE });
    const principal = { kind: 'api_token', userId: null, name: 'token:telegram_bot_api', role: 'admin', scope: 'full' };
    expect(await here.auth.authenticate(VALUE)).toMatchObject(principal);
    expect(await there.auth.authenticate(VALUE)).toMatchObject(principal);
    expect(await here.apiTokens.reveal('telegram_bot_api')).toBe(VALUE);
    expect((await here.settings.all()).api_tokens).toBe('{"telegram_bot_api":"********"}');
    await here.apiTokens.remove('telegram_bot_api');
    await expect(here.auth.authenticate(VALUE)).rejects.toMatchObject({ code: 'token_invalid' });
    await eventually(() =>
      there.auth.authenticate(VALUE).then(
        () => false,
        () => true,
      ),
    );
    const missing = { kind: 'not_found', code: 'api_token_not_found' };
    await expect(here.apiTokens.remove('telegram_bot_api')).rejects.toMatchObject(missing);
    await expect(here.apiTokens.reveal('telegram_bot_api')).rejects.toMatchObject(missing);
    expect((await actions()).reverse()).toEqual(['api_token_created', 'api_token_shown', 'api_token_deleted']);
  });

  it('can be given another value or scope, and the old value is dead', async () => {
    await here.apiTokens.upsert({ name: 'shop', token: VALUE });
    await here.auth.authenticate(VALUE);
    await here.apiTokens.upsert({ name: 'shop', token: `${VALUE}-2`, scope: 'payments:verify' });
    await expect(here.auth.authenticate(VALUE)).rejects.toMatchObject({ code: 'token_invalid' });
    expect(await here.auth.authenticate(`${VALUE}-2`)).toMatchObject({ role: 'user', scope: 'payments:verify' });
  });

  it('has a value that no other has, also when both come at once', async () => {
    const both = await Promise.allSettled([
      here.apiTokens.upsert({ name: 'one', token: VALUE }),
      there.apiTokens.upsert({ name: 'two', token: VALUE }),
    ]);
    expect(both.map((result) => result.status).sort()).toEqual(['fulfilled', 'rejected']);
    const refused = both.find((result) => result.status === 'rejected');
    expect(refused?.reason).toMatchObject({ kind: 'conflict', code: 'api_token_value_taken' });
    const same = await Promise.allSettled([
      here.apiTokens.upsert({ name: 'same', token: `${VALUE}1` }),
      there.apiTokens.upsert({ name: 'same', token: `${VALUE}1` }),
    ]);
    expect(same.map((result) => result.status)).toEqual(['fulfilled', 'fulfilled']);
  });

  it('has a name of 1 to 64 characters and a value of 16 to 512 visible ones', async () => {
    for (const [name, token] of [
      ['', VALUE],
      ['x'.repeat(65), VALUE],
      ['a\nb', VALUE],
      ['a', 'fifteen-letters'],
      ['a', 'x'.repeat(513)],
      ['a', 'sixteen with a space'],
      ['a', 'шестнадцать-знаков'],
    ] as const) {
      const refusal = { kind: 'invalid', code: 'api_token_invalid' };
      await expect(here.apiTokens.upsert({ name, token }), `${name} ${token}`).rejects.toMatchObject(refusal);
    }
    await here.apiTokens.upsert({ name: 'x'.repeat(64), token: 'x'.repeat(512) });
    await here.apiTokens.upsert({ name: '__proto__', token: 'sixteen-letters!' });
    expect(await here.auth.authenticate('sixteen-letters!')).toMatchObject({ name: 'token:__proto__' });
    expect((await here.settings.all()).api_tokens).toContain('"__proto__":"********"');
  });

  it('is sealed in the database and goes on working after the secret key was changed', async () => {
    await here.apiTokens.upsert({ name: 'bot', token: VALUE });
    const [row] = await here.source.query<[{ token: Buffer; token_hash: Buffer }]>('SELECT * FROM api_tokens');
    expect(row.token.includes(VALUE)).toBe(false);
    const rotated = new SecretBox('another secret key of thirty-two characters', testSecretKey);
    const later = await startAccounts(database.url, { secretBox: rotated });
    try {
      expect(await later.auth.authenticate(VALUE)).toMatchObject({ name: 'token:bot' });
      expect(await later.apiTokens.reveal('bot')).toBe(VALUE);
    } finally {
      await later.close();
    }
  });
});
