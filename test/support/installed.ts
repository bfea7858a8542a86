import { expect } from 'vitest';
import { type Answer, request } from './http.js';
import type { Server } from './server.js';
import { eventually } from './wait.js';

const admin = { username: 'admin', password: 'correct horse' };

/** Installs wg0 for clients of connectClient() and logs the admin in. */
export async function install(server: Server): Promise<CandyPanel> {
  // The tests come from addresses that count as public; the line is printed after the server first answers.
  const [, setupToken = ''] = await eventually(() => /X-Setup-Token: (\S+)/.exec(server.logs()));
  const answer = await request(server, 'POST', '/install', {
    headers: { 'x-setup-token': setupToken },
    body: {
      server_ip: server.endpointHost,
      wg_port: '51820',
      admin_user: admin.username,
      admin_password: admin.password,
    },
  });
  expect(answer.status, answer.text).toBe(200);
  return logIn(server);
}

export async function logIn(server: Server): Promise<CandyPanel> {
  const answer = await request<{ access_token: string }>(server, 'POST', '/login', { body: admin });
  expect(answer.status, answer.text).toBe(200);
  return new CandyPanel(server, answer.body.access_token);
}

export interface CandyClient {
  name: string;
  public_key: string;
  address: string;
  used_trafic: { download: number; upload: number };
  connected_now: boolean;
  status: boolean;
}

/** An admin's session through CandyPanel's API. */
export class CandyPanel {
  constructor(
    readonly server: { readonly url: string },
    readonly token: string,
  ) {}

  /** The same session at another server of the installation. */
  at(server: { readonly url: string }): CandyPanel {
    return new CandyPanel(server, this.token);
  }

  call<T = unknown>(method: string, path: string, body?: unknown): Promise<Answer<T>> {
    return request<T>(this.server, method, path, { token: this.token, ...(body === undefined ? {} : { body }) });
  }

  /** Makes a client, unlimited unless told; gives its config file. */
  async create(name: string, more: { traffic?: string; expires?: string } = {}): Promise<string> {
    const body = { name, expires: '2099-01-01T00:00:00', traffic: '0', wg_id: 0, ...more };
    const answer = await this.call<{ data: { client_config: string } }>('POST', '/clients', body);
    expect(answer.status, answer.text).toBe(200);
    return answer.body.data.client_config;
  }

  async client(name: string): Promise<CandyClient> {
    const answer = await this.call<CandyClient>('GET', `/clients/${encodeURIComponent(name)}`);
    expect(answer.status, answer.text).toBe(200);
    return answer.body;
  }

  async sync(): Promise<void> {
    const answer = await this.call('POST', '/sync');
    expect(answer.status, answer.text).toBe(200);
  }
}
