import { SecretBox } from '../../../src/platform/crypto/secret-box.js';
import { startAccounts } from '../../support/accounts.js';
import { type Answer, request, type RequestOptions } from '../../support/http.js';
import { type Server, type ServerOptions, startServer } from '../../support/server.js';

export const adminPassword = 'correct horse battery';

/** Tests come from an address that counts as public, so an open installation asks them for this. */
export const setupToken = 'setup-token-of-the-tests';

export interface ClientRecord {
  name: string;
  expires: string;
  traffic: string;
  wg_id: number;
  note: string;
  public_key: string;
  private_key: string;
  address: string;
  created_at: string;
  used_trafic: { download: number; upload: number };
  connected_now: boolean;
  status: boolean;
}

export interface InterfaceRecord {
  address_range: string;
  port: number;
  wg: number;
  private_key: string;
  public_key: string;
  status: boolean;
}

/** A CandyPanel client's view of a server, with an admin's token. */
export class Panel {
  token: string | undefined;

  constructor(readonly server: Server) {}

  /** A server, installed, and its admin logged in. */
  static async start(options: ServerOptions = {}): Promise<Panel> {
    const server = await startServer({ ...options, env: { SETUP_TOKEN: setupToken, ...options.env } });
    try {
      const panel = new Panel(server);
      const answer = await panel.install();
      if (answer.status !== 200) throw new Error(`Not installed: ${answer.text}`);
      await panel.login();
      return panel;
    } catch (error) {
      await server.cleanup();
      throw error;
    }
  }

  install(body: object = {}, options: RequestOptions = {}): Promise<Answer> {
    return request(this.server, 'POST', '/install', {
      headers: { 'x-setup-token': setupToken },
      ...options,
      body: {
        server_ip: this.server.endpointHost,
        wg_port: '51820',
        wg_address_range: '10.0.0.1/24',
        wg_dns: '8.8.8.8',
        admin_user: 'admin',
        admin_password: adminPassword,
        ...body,
      },
    });
  }

  async login(username = 'admin', password = adminPassword): Promise<void> {
    const answer = await this.call<{ access_token: string }>('POST', '/login', { username, password });
    if (answer.status !== 200) throw new Error(`Not logged in: ${answer.text}`);
    this.token = answer.body.access_token;
  }

  call<T = unknown>(method: string, path: string, body?: unknown, options: RequestOptions = {}): Promise<Answer<T>> {
    const token = this.token === undefined ? {} : { token: this.token };
    return request<T>(this.server, method, path, { ...token, ...options, ...(body === undefined ? {} : { body }) });
  }

  /** Creates a client and returns its config file. */
  async create(name: string, fields: object = {}): Promise<string> {
    const body = { name, expires: '2099-12-31T23:59:59', traffic: '0', ...fields };
    const answer = await this.call<{ data: { client_config: string } }>('POST', '/clients', body);
    if (answer.status !== 200) throw new Error(`Client ${name} was not created: ${answer.text}`);
    return answer.body.data.client_config;
  }

  async client(name: string): Promise<ClientRecord> {
    const answer = await this.call<ClientRecord>('GET', `/clients/${encodeURIComponent(name)}`);
    if (answer.status !== 200) throw new Error(`Client ${name} was not shown: ${answer.text}`);
    return answer.body;
  }

  async interface(number: number): Promise<InterfaceRecord | undefined> {
    const { body } = await this.call<InterfaceRecord[]>('GET', '/interfaces');
    return body.find(({ wg }) => wg === number);
  }

  /** Peers of a device that traffic may come from: public key to allowed IPs. Null when there is no device. */
  async peers(device = 'wg0'): Promise<Map<string, string[]> | null> {
    const { code, stdout } = await this.server.exec(['wg', 'show', device, 'allowed-ips']);
    if (code !== 0) return null;
    const rows = stdout
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => line.split('\t') as [string, string])
      .map(([key, ips]): [string, string[]] => [key, ips.split(' ')]);
    return new Map(rows.filter(([, ips]) => !ips.includes('(none)')));
  }

  /** Whether a client is on the device now. */
  async isOn(name: string, device = 'wg0'): Promise<boolean> {
    const { public_key: key } = await this.client(name);
    return (await this.peers(device))?.has(key) ?? false;
  }

  /** The access token of a customer, who is made for it. */
  async customerToken(username = 'customer'): Promise<string> {
    const { database, env } = this.server;
    const accounts = await startAccounts(database!.url, { secretBox: new SecretBox(env['SECRET_KEY']!) });
    try {
      const customer = await accounts.users.create({ username, password: adminPassword, role: 'user' });
      return accounts.tokens.issue(customer, { typ: 'access', ttlSeconds: 600 }).token;
    } finally {
      await accounts.close();
    }
  }
}

export const done = (message: string): object => ({ message, success: true, data: null });
