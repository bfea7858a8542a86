import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { request } from '../../support/http.js';
import { type Server, startServer } from '../../support/server.js';

const password = 'a-good-password';
let server: Server;

beforeAll(async () => {
  server = await startServer({ env: { WG_PASSWORD: password, RATE_LIMITS: 'on' } });
});

afterAll(() => server.cleanup());

// Each test comes from an address of its own behind a trusted proxy, so that none uses up another's limit.
let address = 0;
const from = () => ({ 'x-forwarded-for': `192.0.2.${(address += 1)}` });

describe('a session', () => {
  beforeAll(() => server.restart({ TRUST_PROXY: 'true' }));

  it('opens with the password and is good as bearer token and as cookie', async () => {
    const headers = from();
    const answer = await request<{ success: boolean; sessionToken: string }>(server, 'POST', '/api/session', {
      body: { password },
      headers,
    });
    expect(answer.status).toBe(200);
    expect(Object.keys(answer.body).sort()).toEqual(['sessionToken', 'success']);
    const cookie = answer.headers['set-cookie']?.[0] ?? '';
    expect(cookie).toMatch(/HttpOnly/);
    expect(cookie).toMatch(/SameSite=Lax/);
    expect(cookie).not.toMatch(/Secure/);

    const pair = cookie.split(';')[0] ?? '';
    const byCookie = await request(server, 'GET', '/api/wireguard/client', { headers: { ...headers, cookie: pair } });
    expect(byCookie.status).toBe(200);
    const byToken = await request(server, 'GET', '/api/wireguard/client', {
      headers,
      token: answer.body.sessionToken,
    });
    expect(byToken.status).toBe(200);
    // The cookie is for wg-easy's own paths alone.
    expect((await request(server, 'GET', '/clients', { headers: { ...headers, cookie: pair } })).status).toBe(401);

    const state = await request(server, 'GET', '/api/session', { headers: { ...headers, cookie: pair } });
    expect(state.body).toMatchObject({ requiresPassword: true, authenticated: true });
  });

  it('refuses a change that comes by cookie from another origin', async () => {
    const headers = from();
    const opened = await request(server, 'POST', '/api/session', { body: { password }, headers });
    const cookie = opened.headers['set-cookie']?.[0]?.split(';')[0] ?? '';
    const send = (origin: string) =>
      request(server, 'POST', '/api/wireguard/client', {
        body: { name: 'by-cookie' },
        headers: { ...headers, cookie, origin },
      });
    expect((await send('https://evil.example')).status).toBe(403);
    expect((await send(server.url)).status).toBe(201);
  });

  it('ends with DELETE: neither cookie nor token is good afterwards', async () => {
    const headers = from();
    const opened = await request<{ sessionToken: string }>(server, 'POST', '/api/session', {
      body: { password },
      headers,
    });
    const token = opened.body.sessionToken;
    const ended = await request(server, 'DELETE', '/api/session', { token, headers });
    expect(ended.status).toBe(200);
    const answer = await request(server, 'GET', '/api/wireguard/client', { token, headers });
    expect(answer.status).toBe(401);
    expect(answer.body).toMatchObject({ code: 'UNAUTHORIZED' });
  });

  it('does not open with a wrong password, and says nothing of why', async () => {
    const answer = await request(server, 'POST', '/api/session', { body: { password: 'wrong' }, headers: from() });
    expect(answer.status).toBe(401);
    expect(answer.body).toEqual({ error: 'Incorrect Password', code: 'UNAUTHORIZED' });
  });

  it('is needed: without one every client route answers 401', async () => {
    const headers = from();
    const id = '00000000-0000-4000-8000-000000000000';
    for (const [method, path] of [
      ['GET', '/api/wireguard/client'],
      ['POST', '/api/wireguard/client'],
      ['GET', `/api/wireguard/client/${id}`],
      ['DELETE', `/api/wireguard/client/${id}`],
    ] as const) {
      const answer = await request(server, method, path, { headers });
      expect(answer.status, `${method} ${path}`).toBe(401);
      expect(answer.body).toMatchObject({ code: 'UNAUTHORIZED' });
    }
  });
});

describe('documented limits', () => {
  it('allow five log-ins a minute and address, with the headers of the window', async () => {
    const headers = from();
    const statuses: number[] = [];
    for (let attempt = 0; attempt < 6; attempt += 1) {
      const answer = await request<{ retryAfter?: number }>(server, 'POST', '/api/session', {
        body: { password },
        headers,
      });
      statuses.push(answer.status);
      expect(answer.headers['x-ratelimit-limit']).toBe('5');
      if (answer.status === 429) {
        expect(answer.body).toEqual({ error: 'Rate limit exceeded', retryAfter: expect.any(Number) as number });
        expect(Number(answer.headers['retry-after'])).toBe(answer.body.retryAfter);
      }
    }
    expect(statuses).toEqual([200, 200, 200, 200, 200, 429]);
  });

  it('allow ten creations a minute for all together', async () => {
    const opened = await request<{ sessionToken: string }>(server, 'POST', '/api/session', {
      body: { password },
      headers: from(),
    });
    let limited = 0;
    for (let index = 0; index < 11; index += 1) {
      const answer = await request(server, 'POST', '/api/wireguard/client', {
        body: { name: `limit-${index}` },
        token: opened.body.sessionToken,
        headers: from(),
      });
      if (answer.status === 429) limited += 1;
      else expect(answer.status).toBe(201);
    }
    // One or more creations of the tests above may lie in the same minute.
    expect(limited).toBeGreaterThanOrEqual(1);
  });
});

describe('guessing the password', () => {
  it('ends in the documented 429, whatever the volume limits are', async () => {
    await server.restart({ RATE_LIMITS: 'off' });
    const headers = from();
    const guess = () =>
      request<{ retryAfter: number }>(server, 'POST', '/api/session', { body: { password: 'no' }, headers });
    for (let attempt = 0; attempt < 5; attempt += 1) expect((await guess()).status).toBe(401);
    const answer = await guess();
    expect(answer.status).toBe(429);
    expect(answer.body).toEqual({ error: 'Rate limit exceeded', retryAfter: expect.any(Number) as number });
    expect(answer.body.retryAfter).toBeGreaterThan(20);
    expect(Number(answer.headers['retry-after'])).toBe(answer.body.retryAfter);
  });
});
