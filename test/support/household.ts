import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { DataSource } from 'typeorm';
import { ApiTokensService } from '../../src/domain/auth/api-tokens.service.js';
import { ClientsService } from '../../src/domain/clients/clients.service.js';
import { SettingsService } from '../../src/domain/settings/settings.service.js';
import { UsageService } from '../../src/domain/usage/usage.service.js';
import { TotpService } from '../../src/domain/users/totp.service.js';
import { UsersService } from '../../src/domain/users/users.service.js';
import { SecretBox } from '../../src/platform/crypto/secret-box.js';
import { generateKeyPair, generatePresharedKey } from '../../src/platform/crypto/x25519.js';
import type { Application } from './application.js';

export const householdPassword = 'correct horse';
export const householdBotToken = '12345678:abcdefgh_ijklmnop-qrstuvwxyz';
export const householdApiToken = 'a-token-of-the-tests';

export const sorted = (names: string[]): string[] => names.toSorted((a, b) => (a < b ? -1 : 1));

/** What an installation without engine has, to be backed up, changed and looked at. */
export class Household {
  constructor(readonly app: Application) {}

  sql<Row>(text: string, values: unknown[] = []): Promise<Row[]> {
    return this.app.get(DataSource).query<Row[]>(text, values);
  }

  /** All that a backup holds and all that it must not touch, as text. */
  async state(): Promise<Record<string, unknown>> {
    const rows = (query: string): Promise<unknown> => this.sql(query);
    return {
      users: await rows('SELECT * FROM users ORDER BY id'),
      tokens: await rows('SELECT * FROM api_tokens ORDER BY name'),
      settings: await rows('SELECT * FROM settings ORDER BY key'),
      interfaces: await rows('SELECT * FROM wireguard_interfaces ORDER BY number'),
      clients: await rows('SELECT * FROM clients ORDER BY name'),
      // Without what the samples hold of them already, which a timer moves once a minute.
      counters: await rows(
        `SELECT subject_id, kind, epoch, rx_last, tx_last, rx_total, tx_total, conns_total FROM usage_counters
          ORDER BY subject_id`,
      ),
      retired: await rows('SELECT * FROM retired_devices'),
      free: await rows('SELECT * FROM free_addresses ORDER BY interface_id, address'),
    };
  }

  /** What people would look at, secrets open: the same on every machine that has the same configuration. */
  async view(): Promise<Record<string, unknown>> {
    const rows = (query: string): Promise<unknown> => this.sql(query);
    const clients = await this.app.get(ClientsService).list();
    // What is measured, or has a part of its own.
    const {
      bandwidth: _bandwidth,
      uptime: _uptime,
      api_tokens: _tokens,
      admin: _admin,
      ...settings
    } = await this.app.get(SettingsService).all();
    return {
      users: await rows(
        'SELECT username, role, email, telegram_id, is_active, totp_enabled, password_hash FROM users ORDER BY 1',
      ),
      tokens: await Promise.all(
        (await this.app.get(ApiTokensService).list()).map(async ({ name, scope }) => ({
          name,
          scope,
          value: await this.app.get(ApiTokensService).reveal(name),
        })),
      ),
      settings: [settings, await this.app.get(SettingsService).get('telegram_bot_token')],
      interfaces: await rows(
        'SELECT number, address, range, listen_port, public_key, enabled FROM wireguard_interfaces ORDER BY number',
      ),
      configs: await Promise.all(clients.map(({ name }) => this.app.get(ClientsService).config({ name }))),
      clients: await rows(
        `SELECT c.id, c.name, u.username AS owner, i.number, c.address, c.note, c.traffic_limit_bytes, c.expires_at,
              c.enabled, c.ended_reason, c.created_at
         FROM clients c JOIN wireguard_interfaces i ON i.id = c.interface_id LEFT JOIN users u ON u.id = c.owner_id
        WHERE c.removed_at IS NULL ORDER BY c.name`,
      ),
    };
  }

  async addInterface(number: number): Promise<void> {
    const keys = generateKeyPair();
    await this.sql(
      `INSERT INTO wireguard_interfaces (number, address, range, listen_port, private_key, public_key)
     VALUES ($1, $2, $3, $4, $5, $6)`,
      [
        number,
        `10.${number}.0.1/24`,
        `10.${number}.0.0/24`,
        51_000 + number,
        this.app.get(SecretBox).seal('wireguard-interface-key', keys.privateKey),
        keys.publicKey,
      ],
    );
  }

  /** Without an engine clients cannot be made through the service. */
  async addClient(name: string, number: number, host: number, change: Record<string, unknown> = {}) {
    const box = this.app.get(SecretBox);
    const keys = generateKeyPair();
    const row: Record<string, unknown> = {
      name,
      address: `10.${number}.0.${host}`,
      public_key: keys.publicKey,
      private_key: box.seal('wireguard-client-key', keys.privateKey),
      preshared_key: box.seal('wireguard-preshared-key', generatePresharedKey()),
      note: 'tab\tline\nback\\slash ’ü',
      ...change,
    };
    const names = Object.keys(row);
    const [{ id }] = (await this.sql<{ id: string }>(
      `INSERT INTO clients (interface_id, ${names.join(', ')})
     SELECT id, ${names.map((_, index) => `$${index + 2}`).join(', ')} FROM wireguard_interfaces WHERE number = $1
     RETURNING id`,
      [number, ...Object.values(row)],
    )) as [{ id: string }];
    return id;
  }

  use(id: string, bytes: number, epoch = 1): Promise<number> {
    return this.app
      .get(UsageService)
      .book('wireguard', epoch, [{ subjectId: id, rx: bytes, tx: 0, latestHandshake: 0 }]);
  }

  async used(id: string): Promise<bigint | undefined> {
    return (await this.app.get(UsageService).totalsOf([id])).get(id)?.rx;
  }

  /** An installation with something of everything. */
  async furnish(): Promise<{ alice: string; bert: string }> {
    const users = this.app.get(UsersService);
    await users.create({ username: 'admin', password: householdPassword, role: 'admin' });
    const customer = await users.create({
      username: 'carol',
      password: householdPassword,
      role: 'user',
      telegramId: '77',
    });
    await this.app.get(TotpService).begin(customer.id);
    await this.app.get(ApiTokensService).upsert({ name: 'bot', token: householdApiToken });
    const settings = this.app.get(SettingsService);
    await settings.set('telegram_bot_token', householdBotToken);
    await settings.set('custom_endpont', 'vpn.example.org');
    await settings.set('dns', '9.9.9.9');
    await this.addInterface(0);
    await this.addInterface(1);
    const alice = await this.addClient('alice', 0, 2, { owner_id: customer.id, traffic_limit_bytes: '5000' });
    const bert = await this.addClient('bert', 1, 2, { expires_at: '2099-01-01T00:00:00.123456Z', enabled: false });
    await this.use(alice, 1000);
    return { alice, bert };
  }

  /** Everything becomes different. */
  async turmoil(): Promise<void> {
    const users = this.app.get(UsersService);
    const carol = (await users.findByUsername('carol'))!;
    await users.remove(carol.id);
    await users.create({ username: 'dave', password: householdPassword, role: 'user' });
    await users.create({ username: 'eve', password: householdPassword, role: 'admin' });
    await users.changePassword((await users.findByUsername('admin'))!.id, 'battery staple');
    await this.app.get(ApiTokensService).remove('bot');
    await this.app.get(ApiTokensService).upsert({ name: 'other', token: `${householdApiToken}-2` });
    const settings = this.app.get(SettingsService);
    await settings.set('telegram_bot_token', '0');
    await settings.set('dns', '1.1.1.1');
    await settings.set('mtu', '1300');
    await this.sql('DELETE FROM clients');
    // The number, range and port of the one that goes are taken by another.
    await this.sql('DELETE FROM wireguard_interfaces WHERE number = 1');
    await this.sql(
      `UPDATE wireguard_interfaces SET listen_port = 51001, address = '10.1.0.1/24', range = '10.1.0.0/24'`,
    );
    await this.addInterface(2);
    await this.addClient('zoe', 0, 2, { address: '10.1.0.2' });
  }

  /** The names of the folder of backups, sorted. */
  async files(): Promise<string[]> {
    return sorted(await readdir(join(this.app.dataDir, 'backups')).catch(() => []));
  }
  fileOf(filename: string): string {
    return join(this.app.dataDir, 'backups', filename);
  }
}
