import { SecretBox } from '../../../src/platform/crypto/secret-box.js';
import { startAccounts } from '../../support/accounts.js';
import { type Answer, request, type RequestOptions } from '../../support/http.js';
import { ProxyClient } from '../../support/proxy-client.js';
import { type Server, type ServerOptions, startServer } from '../../support/server.js';
import { eventually } from '../../support/wait.js';

export const adminPassword = 'correct horse battery';

export const engineProgram = process.env['XRAY_BIN'] ?? 'v2ray';

/** The shape of every error. */
export const failure = (code: number, error: unknown = expectText()): object => ({ ok: false, error, code });

function expectText(): unknown {
  return { asymmetricMatch: (value: unknown) => typeof value === 'string' && value.length > 0 };
}

export interface UserItem {
  email: string;
  uuid: string;
  alias: string;
  flow: string;
  enabled: boolean;
  active: boolean;
}

/** A front end's view of a server, with an admin's token. */
export class Dashboard {
  private constructor(
    readonly server: Server,
    readonly token: string,
  ) {}

  /** A server whose engines are known. */
  static async start(options: ServerOptions = {}): Promise<Dashboard> {
    const server = await startServer({ ...options, env: { ADMIN_PASSWORD: adminPassword, ...options.env } });
    try {
      const login = await request<{ access_token: string }>(server, 'POST', '/login', {
        body: { username: 'admin', password: adminPassword },
      });
      const dashboard = new Dashboard(server, login.body.access_token);
      if (server.env['XRAY'] === 'auto') await dashboard.engineIsUp();
      return dashboard;
    } catch (error) {
      await server.cleanup();
      throw error;
    }
  }

  call<T = unknown>(method: string, path: string, body?: unknown, options: RequestOptions = {}): Promise<Answer<T>> {
    return request<T>(this.server, method, path, {
      token: this.token,
      ...options,
      ...(body === undefined ? {} : { body }),
    });
  }

  /** The body of an answer that must be a success. */
  async read<T>(path: string): Promise<T> {
    const answer = await this.call<T>('GET', path);
    if (answer.status !== 200) throw new Error(`GET ${path}: ${answer.status} ${answer.text}`);
    return answer.body;
  }

  async engineIsUp(): Promise<void> {
    await eventually(async () => (await this.read<{ xray: { active: boolean } }>('/api/system/status')).xray.active, {
      what: 'the engine',
    });
  }

  async add(email: string, fields: object = {}): Promise<UserItem> {
    const answer = await this.call<{ user: UserItem }>('POST', '/api/users/add', { email, ...fields });
    if (answer.status !== 200) throw new Error(`${email} was not added: ${answer.text}`);
    return answer.body.user;
  }

  async link(email: string): Promise<string> {
    return (await this.read<{ link: string }>(`/api/users/link?email=${encodeURIComponent(email)}`)).link;
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

/** A client application that knows nothing but the link of a vless user without TLS. */
export function connectLink(link: string): Promise<ProxyClient> {
  const url = new URL(link);
  return ProxyClient.start(engineProgram, {
    protocol: url.protocol.slice(0, -1),
    settings: {
      vnext: [
        {
          address: url.hostname,
          port: Number(url.port),
          users: [{ id: url.username, encryption: url.searchParams.get('encryption') }],
        },
      ],
    },
    streamSettings: { network: url.searchParams.get('type'), security: url.searchParams.get('security') },
  });
}
