import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { request } from '../../support/http.js';
import { Panel } from './panel.js';

const detail = (text: unknown = expect.any(String)) => ({ detail: text });

/** Every route that needs an admin. */
const routes: [string, string][] = [
  ['GET', '/dashboard'],
  ['POST', '/sync'],
  ['GET', '/clients'],
  ['POST', '/clients'],
  ['GET', '/clients/x'],
  ['PUT', '/clients/x'],
  ['DELETE', '/clients/x'],
  ['GET', '/clients/x/config'],
  ['GET', '/interfaces'],
  ['POST', '/interfaces'],
  ['PUT', '/interfaces/wg0'],
  ['DELETE', '/interfaces/wg0'],
  ['GET', '/settings'],
  ['PUT', '/settings/dns'],
  ['POST', '/api-tokens'],
  ['GET', '/api-tokens/x'],
  ['DELETE', '/api-tokens/x'],
];

describe('answers', () => {
  let panel: Panel;

  beforeAll(async () => {
    panel = await Panel.start();
  });

  afterAll(async () => {
    await panel?.server.cleanup();
  });

  it('to a login are a bearer token, or one text for all that can be wrong', async () => {
    const good = await panel.call('POST', '/login', { username: 'admin', password: 'correct horse battery' });
    expect(good).toMatchObject({ status: 200, body: { access_token: expect.any(String), token_type: 'bearer' } });
    for (const body of [
      { username: 'admin', password: 'wrong' },
      { username: 'nobody', password: 'correct horse battery' },
    ]) {
      const answer = await request(panel.server, 'POST', '/login', { body });
      expect(answer).toMatchObject({ status: 401, body: detail('Wrong username or password!') });
    }
  });

  it('without a token, or with a wrong one, are 401', async () => {
    for (const [method, path] of routes) {
      const none = await request(panel.server, method, path);
      expect(none, `${method} ${path}`).toMatchObject({ status: 401, body: detail('Not authenticated') });
      expect(none.headers['www-authenticate']).toBe('Bearer');
      for (const token of ['nonsense', 'a.b.c', `${panel.token!}x`]) {
        const wrong = await request(panel.server, method, path, { token });
        expect(wrong, `${method} ${path}`).toMatchObject({
          status: 401,
          body: detail('Invalid authentication credentials'),
        });
      }
    }
    const basic = await request(panel.server, 'GET', '/clients', { headers: { authorization: 'Basic YTpi' } });
    expect(basic.status).toBe(401);
  });

  it('to customers are 403, and their login here is a 401', async () => {
    const token = await panel.customerToken();
    for (const [method, path] of routes) {
      const answer = await request(panel.server, method, path, { token });
      expect(answer, `${method} ${path}`).toMatchObject({ status: 403, body: detail() });
    }
    const login = await panel.call('POST', '/login', { username: 'customer', password: 'correct horse battery' });
    expect(login).toMatchObject({ status: 401, body: detail('Wrong username or password!') });
  });

  it('are the same with a slash at the end', async () => {
    await panel.create('slashed');
    for (const path of [
      '/dashboard',
      '/clients',
      '/clients/slashed',
      '/clients/slashed/config',
      '/interfaces',
      '/settings',
    ]) {
      expect((await panel.call('GET', `${path}/`)).status, path).toBe(200);
    }
    expect((await panel.call('PUT', '/clients/slashed/', { note: 'x' })).status).toBe(200);
    expect((await panel.call('PUT', '/settings/reset_time/', { value: '0' })).status).toBe(200);
    expect((await panel.call('DELETE', '/clients/slashed/')).status).toBe(200);
  });

  it('to unknown routes and wrong methods have the shape of this API', async () => {
    for (const path of ['/', '/nonsense', '/clients/a/b', '/clients/a/config/b', '/dashboard/x', '/LOGIN']) {
      expect(await panel.call('GET', path), path).toMatchObject({ status: 404, body: detail('Not Found') });
    }
    const wrong: [string, string, string][] = [
      ['GET', '/login', 'POST'],
      ['DELETE', '/clients', 'GET'],
      ['PATCH', '/clients/x', 'PUT'],
      ['POST', '/dashboard', 'GET'],
      ['GET', '/sync', 'POST'],
      ['GET', '/install', 'POST'],
    ];
    for (const [method, path, allowed] of wrong) {
      const answer = await panel.call(method, path);
      expect(answer, `${method} ${path}`).toMatchObject({ status: 405, body: detail('Method Not Allowed') });
      expect(answer.headers.allow).toContain(allowed);
    }
  });

  it('to bodies that cannot be read are 400', async () => {
    for (const body of ['{', '{"name":}', 'null', '[]', '"text"', '5', '{"__proto__":{"a":1}}', '['.repeat(5_000)]) {
      const answer = await panel.call('POST', '/clients', body);
      expect(answer, body.slice(0, 20)).toMatchObject({ status: 400, body: detail() });
    }
    for (const body of ['', '   ']) {
      const answer = await panel.call<{ detail: string }>('POST', '/clients', body, {
        headers: { 'content-type': 'application/json' },
      });
      expect(answer.status).toBe(400);
      expect(answer.body.detail).toContain('name');
    }
    const form = await panel.call('POST', '/clients', 'name=a', {
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
    });
    expect(form.status).toBeGreaterThanOrEqual(400);
    expect(form.status).toBeLessThan(500);
    expect(form.body).toEqual(detail());
  });

  it('to bodies that are too large are 413', async () => {
    const answer = await panel.call('POST', '/clients', { name: 'x'.repeat(2 * 1024 * 1024) });
    expect(answer).toMatchObject({ status: 413, body: detail() });
  });

  it('to paths that are encoded wrongly, or too long, are errors of this shape', async () => {
    const broken = await panel.call('GET', '/clients/%E0%A4%A');
    expect(broken).toMatchObject({ status: 400, body: detail() });
    const long = await panel.call('GET', `/clients/${'x'.repeat(2_000)}`);
    expect(long).toMatchObject({ status: 404, body: detail() });
  });

  it('carry a request id, and are not kept by caches', async () => {
    const answer = await panel.call('GET', '/clients');
    expect(answer.headers['x-request-id']).toEqual(expect.any(String));
    expect(answer.headers['cache-control']).toContain('no-store');
    expect(answer.headers['content-type']).toMatch(/^application\/json/);
  });

  it('drop fields that nobody knows', async () => {
    const body = { name: 'extra', expires: '2099-01-01T00:00:00', traffic: '0', owner_id: 1, enabled: false };
    expect((await panel.call('POST', '/clients', body)).status).toBe(200);
    expect(await panel.client('extra')).toMatchObject({ status: true });
  });
});
