import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connectClient } from '../../support/client-namespace.js';
import { request, type RequestOptions } from '../../support/http.js';
import { type Server, startServer } from '../../support/server.js';
import { eventually } from '../../support/wait.js';

interface Item {
  id: string;
  name: string;
  address: string;
  publicKey: string;
  createdAt: string;
  enabled: boolean;
}

type Details = Item & { transferRx: number; transferTx: number; latestHandshakeAt: string | null };
type Created = Item & { configuration: string; qrcodeDataURL: string };

const path = '/api/wireguard/client';
let server: Server;
let token: string;

beforeAll(async () => {
  server = await startServer({ env: { WG_PASSWORD: 'short' } });
  token = await login();
});

afterAll(() => server.cleanup());

async function login(): Promise<string> {
  const answer = await request<{ sessionToken: string }>(server, 'POST', '/api/session', {
    body: { password: 'short' },
  });
  expect(answer.status).toBe(200);
  return answer.body.sessionToken;
}

const call = <T>(method: string, at: string, options: RequestOptions = {}) =>
  request<T>(server, method, at, { token, ...options });

async function create(name: string): Promise<Created> {
  const answer = await call<Created>('POST', path, { body: { name } });
  expect(answer.status, answer.text).toBe(201);
  return answer.body;
}

const peers = async () => (await server.exec(['wg', 'show', 'wg0', 'allowed-ips'])).stdout;

describe('an installation from the environment of wg-easy', () => {
  it('has wg0 on 10.8.0.0/24 for the host of the default route, without any request', async () => {
    const { stdout } = await server.exec(['ip', '-4', '-o', 'addr', 'show', 'dev', 'wg0']);
    expect(stdout).toContain('10.8.0.1/24');
    const client = await create('first-of-all');
    expect(client.address).toMatch(/^10\.8\.0\.\d+$/);
    expect(client.configuration).toContain('AllowedIPs = 0.0.0.0/0, ::/0');
    expect(client.configuration).toContain('DNS = 1.1.1.1');
    expect(client.configuration).not.toContain('PersistentKeepalive');
  });

  it('warns of the short password that it accepted', async () => {
    const answer = await call<{ alert: string[] }>('GET', '/dashboard');
    expect(answer.status).toBe(200);
    expect(answer.body.alert.join(' ')).toMatch(/password/i);
  });
});

describe('creating a client', () => {
  it('answers the documented fields, a file and a QR code of it', async () => {
    const client = await create('user_123456_1730000000');
    expect(client).toMatchObject({ name: 'user_123456_1730000000', enabled: true });
    expect(client.id).toMatch(/^[0-9a-f-]{36}$/);
    expect(client.publicKey).toMatch(/^[A-Za-z0-9+/]{43}=$/);
    expect(client.createdAt).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
    expect(client.configuration).toMatch(/^\[Interface\]\nPrivateKey = /);
    expect(client.qrcodeDataURL).toMatch(/^data:image\/png;base64,iVBORw0KGgo/);
    expect(await peers()).toContain(`${client.publicKey}\t${client.address}/32`);
  });

  it('refuses a name that is in use with 409 CONFLICT', async () => {
    await create('twice');
    const answer = await call('POST', path, { body: { name: 'twice' } });
    expect(answer.status).toBe(409);
    expect(answer.body).toEqual({ error: 'Client with this name already exists.', code: 'CONFLICT' });
  });

  it.each([
    ['a space', 'a b'],
    ['a dot', 'a.b'],
    ['51 characters', 'a'.repeat(51)],
    ['no character', ''],
    ['letters of another script', 'имя'],
    ['a number in place of text', 7],
    ['a newline', 'a\nPostUp=x'],
  ])('refuses a name with %s with 400 INVALID_REQUEST', async (_what, name) => {
    const answer = await call('POST', path, { body: { name } });
    expect(answer.status).toBe(400);
    expect(answer.body).toMatchObject({ code: 'INVALID_REQUEST', error: expect.stringContaining('name') as string });
  });

  it('gives eight callers at once eight addresses', async () => {
    const made = await Promise.all(Array.from({ length: 8 }, (_, index) => create(`at-once-${index}`)));
    expect(new Set(made.map((client) => client.address)).size).toBe(8);
    const shown = await peers();
    for (const client of made) expect(shown).toContain(`${client.publicKey}\t${client.address}/32`);
  });
});

describe('listing and showing clients', () => {
  it('lists them oldest first, without file, QR code or keys, as CandyPanel shows them too', async () => {
    const one = await create('list-one');
    const two = await create('list-two');
    const { body } = await call<Item[]>('GET', `${path}/`);
    const names = body.map((item) => item.name);
    expect(names.indexOf('list-two')).toBe(names.indexOf('list-one') + 1);
    expect(body.find((item) => item.id === one.id)).toEqual({
      id: one.id,
      name: 'list-one',
      address: one.address,
      publicKey: one.publicKey,
      createdAt: one.createdAt,
      enabled: true,
    });
    const other = await call<{ name: string; address: string }>('GET', '/clients/list-two');
    expect(other.body).toMatchObject({ name: 'list-two', address: two.address });
  });

  it('shows zeros and no handshake for one that never connected', async () => {
    const { id } = await create('never-connected');
    const { body } = await call<Details>('GET', `${path}/${id}`);
    expect(body).toMatchObject({ id, transferRx: 0, transferTx: 0, latestHandshakeAt: null });
  });

  it.each(['00000000-0000-4000-8000-000000000000', 'no-uuid', '%2e%2e', 'x'.repeat(300)])(
    'answers 404 NOT_FOUND for the id %s',
    async (id) => {
      for (const method of ['GET', 'DELETE']) {
        const answer = await call(method, `${path}/${id}`);
        expect(answer.status).toBe(404);
        expect(answer.body).toMatchObject({ code: 'NOT_FOUND' });
      }
    },
  );

  it('downloads the file under a name that WireGuard takes, and shows it as SVG', async () => {
    const { id, configuration } = await create('my-phone');
    const file = await call('GET', `${path}/${id}/configuration`);
    expect(file.text).toBe(configuration);
    expect(file.headers['content-disposition']).toBe('attachment; filename="my-phone.conf"');
    const picture = await call('GET', `${path}/${id}/qrcode.svg`);
    expect(picture.headers['content-type']).toContain('image/svg+xml');
    expect(picture.text).toMatch(/^<svg /);
  });
});

describe('deleting, disabling and enabling', () => {
  it('deletes with 204 and no body, and the peer leaves the device within a second', async () => {
    const client = await create('to-delete');
    const answer = await call('DELETE', `${path}/${client.id}`);
    expect(answer.status).toBe(204);
    expect(answer.text).toBe('');
    await eventually(async () => !(await peers()).includes(client.publicKey), { timeoutMs: 1_500 });
    expect((await call('GET', `${path}/${client.id}`)).status).toBe(404);
    expect((await call('DELETE', `${path}/${client.id}`)).status).toBe(404);
  });

  it('gives the address of a deleted client to a later one', async () => {
    const client = await create('short-lived');
    await call('DELETE', `${path}/${client.id}`);
    await eventually(async () => {
      const next = await create(`heir-${Math.random().toString(36).slice(2)}`);
      if (next.address === client.address) return true;
      await call('DELETE', `${path}/${next.id}`);
      return false;
    });
  });

  it('disables and enables without new keys, and CandyPanel sees it at once', async () => {
    const client = await create('on-and-off');
    expect((await call('POST', `${path}/${client.id}/disable`)).body).toEqual({ success: true });
    expect((await call<Item>('GET', `${path}/${client.id}`)).body.enabled).toBe(false);
    expect((await call<{ status: boolean }>('GET', '/clients/on-and-off')).body.status).toBe(false);
    expect(await peers()).not.toContain(`${client.publicKey}\t${client.address}`);
    await call('POST', `${path}/${client.id}/enable`);
    expect(await peers()).toContain(`${client.publicKey}\t${client.address}/32`);
  });
});

describe('real traffic', () => {
  it('is counted as what the server received and sent, and a delete ends it', async () => {
    await call('PUT', '/settings/custom_endpont', { body: { value: server.endpointHost } });
    const made = await create('traffic');
    const client = await connectClient(server, made.configuration);
    try {
      await client.download(3_000_000);
      await client.upload(1_000_000);
      expect((await call('POST', '/sync')).status).toBe(200);
      const { body } = await call<Details>('GET', `${path}/${made.id}`);
      expect(body.transferTx).toBeGreaterThan(3_000_000);
      expect(body.transferTx).toBeLessThan(4_500_000);
      expect(body.transferRx).toBeGreaterThan(1_000_000);
      expect(body.transferRx).toBeLessThan(2_000_000);
      expect(Date.parse(body.latestHandshakeAt ?? '')).toBeGreaterThan(Date.now() - 60_000);
      expect(await client.ping('10.8.0.1')).toBe(true);
      expect((await call('DELETE', `${path}/${made.id}`)).status).toBe(204);
      expect(await client.ping('10.8.0.1')).toBe(false);
    } finally {
      await client.close();
    }
  });
});
