import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Answer, request, type RequestOptions } from '../../support/http.js';
import { type Server, startServer } from '../../support/server.js';
import { eventually } from '../../support/wait.js';

const password = 'a-good-password';
let server: Server;
let token: string;

beforeAll(async () => {
  server = await startServer({ namespace: false, env: { ADMIN_PASSWORD: password } });
  const login = await request<{ access_token: string }>(server, 'POST', '/login', {
    body: { username: 'admin', password },
  });
  token = login.body.access_token;
});

afterAll(() => server?.cleanup());

const send = (method: string, path: string, options?: RequestOptions): Promise<Answer> =>
  request(server, method, path, options);

type Shape = (text: unknown, status: number, code: string, kind: string) => unknown;

/** What each dialect says, as its document has it; `text` stands for the text of this error. */
const shapes: Record<'candypanel' | 'wg-easy' | 'v2ray' | 'xray', Shape> = {
  candypanel: (text) => ({ detail: text }),
  'wg-easy': (text, _status, code) => ({ error: text, code }),
  v2ray: (text, _status, _code, kind) => ({ error: kind, detail: text }),
  xray: (text, status) => ({ ok: false, error: text, code: status }),
};

const anyText = expect.stringMatching(/^[^\n]+$/) as unknown;

/** One path of each dialect that nothing serves. */
const unknown: [keyof typeof shapes, string][] = [
  ['candypanel', '/nothing-here'],
  ['candypanel', '/clients/a/b/c'],
  ['wg-easy', '/api/session/nothing'],
  ['wg-easy', '/api/wireguard/nothing'],
  ['v2ray', '/api/v1/nothing/'],
  ['v2ray', '/api/v1/nodes/1/nothing'],
  ['v2ray', '/ws/v1/nothing'],
  ['xray', '/api/nothing'],
];

describe('an unknown route', () => {
  it.each(unknown)('is 404 in the shape of %s: %s', async (dialect, path) => {
    for (const options of [{}, { token }]) {
      const answer = await send('GET', path, options);
      expect(answer.status).toBe(404);
      expect(answer.body).toEqual(shapes[dialect](anyText, 404, 'NOT_FOUND', 'Resource not found'));
    }
  });

  it('stays 404 when its body is malformed', async () => {
    expect((await send('POST', '/api/nothing', { body: '{' })).status).toBe(404);
  });

  it('is 404 for another letter case, and the same with a slash at the end', async () => {
    expect((await send('GET', '/Clients', { token })).status).toBe(404);
    expect((await send('GET', '/clients/', { token })).status).toBe(200);
    expect((await send('GET', '/api/ping/')).status).toBe(200);
  });
});

describe('a wrong method', () => {
  it.each([
    ['candypanel', 'PATCH', '/clients', 'GET, HEAD, POST'],
    ['candypanel', 'DELETE', '/login', 'POST'],
    ['candypanel', 'POST', '/clients/alice', 'DELETE, GET, HEAD, PUT'],
    ['wg-easy', 'PUT', '/api/session', 'DELETE, GET, HEAD, POST'],
    ['wg-easy', 'PATCH', '/api/wireguard/client/', 'GET, HEAD, POST'],
    ['xray', 'POST', '/api/ping', 'GET, HEAD'],
  ] as const)('is 405 in the shape of %s: %s %s', async (dialect, method, path, allow) => {
    const answer = await send(method, path);
    expect(answer.status).toBe(405);
    expect(answer.headers.allow).toBe(allow);
    expect(answer.body).toEqual(shapes[dialect](anyText, 405, 'INVALID_REQUEST', 'Invalid input'));
  });
});

const logins: [keyof typeof shapes, string][] = [
  ['candypanel', '/login'],
  ['wg-easy', '/api/session'],
];

describe.each(logins)('a bad body in %s', (dialect, path) => {
  const invalid = (status: number) => shapes[dialect](anyText, status, 'INVALID_REQUEST', 'Invalid input');

  it.each(['{"password":', 'password', '{"__proto__":{"role":"admin"}}', `${'['.repeat(100)}${']'.repeat(100)}`])(
    'is 400 when it is no good JSON: %s',
    async (body) => {
      const answer = await send('POST', path, { body });
      expect(answer.status).toBe(400);
      expect(answer.body).toEqual(invalid(400));
    },
  );

  it('counts as {} when it is empty, and then lacks the password', async () => {
    const types: Record<string, string>[] = [
      { 'content-type': 'application/json' },
      { 'content-type': 'text/plain' },
      {},
    ];
    for (const headers of types) {
      const answer = await send('POST', path, { headers });
      expect(answer.status).toBe(400);
      expect(answer.text).toMatch(/password must/);
    }
  });

  it('is 400 when it is a list or a text', async () => {
    for (const body of [[], '"text"', 'null', '1']) {
      const answer = await send('POST', path, { body });
      expect(answer.status).toBe(400);
      expect(answer.body).toEqual(invalid(400));
    }
  });

  it('is 413 when it is larger than 1 MiB', async () => {
    const answer = await send('POST', path, { body: { password: 'x'.repeat(1024 * 1024) } });
    expect(answer.status).toBe(413);
    expect(answer.body).toEqual(invalid(413));
  });

  it('is 415 when it is no JSON at all', async () => {
    const answer = await send('POST', path, {
      body: 'password=x',
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
    });
    expect(answer.status).toBe(415);
    expect(answer.body).toEqual(invalid(415));
  });

  it('is 400 with each bad field named', async () => {
    const answer = await send('POST', path, { body: { password: 1, totp: 'x' } });
    expect(answer.status).toBe(400);
    expect(answer.text).toMatch(/password must.*totp must/);
  });
});

describe('a token', () => {
  it('that is missing is 401', async () => {
    const candypanel = await send('GET', '/clients');
    expect([candypanel.status, candypanel.body]).toEqual([401, { detail: 'Not authenticated' }]);
    expect(candypanel.headers['www-authenticate']).toBe('Bearer');
    const wgEasy = await send('GET', '/api/wireguard/client');
    expect([wgEasy.status, wgEasy.body]).toEqual([401, { error: 'Not Logged In', code: 'UNAUTHORIZED' }]);
  });

  it.each(['x', 'a.b.c', 'eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.', 'a b', ''])(
    'that is wrong is 401: %s',
    async (bad) => {
      const answer = await send('GET', '/clients', { headers: { authorization: `Bearer ${bad}` } });
      expect(answer.status).toBe(401);
      expect(answer.body).toEqual({ detail: anyText });
    },
  );

  it('of any dialect is good in all of them', async () => {
    const session = await request<{ sessionToken: string }>(server, 'POST', '/api/session', { body: { password } });
    expect((await send('GET', '/clients', { token: session.body.sessionToken })).status).toBe(200);
    expect((await send('GET', '/api/wireguard/client', { token })).status).toBe(200);
  });

  it('in a foreign scheme or in the query does not count', async () => {
    expect((await send('GET', '/clients', { headers: { authorization: `Basic ${token}` } })).status).toBe(401);
    expect((await send('GET', `/clients?token=${token}`)).status).toBe(401);
    expect(server.logs()).not.toContain(token);
  });

  it('whose user failed five times in a row is not to be had for a while', async () => {
    const attempt = () => send('POST', '/login', { body: { username: 'nobody', password: 'wrong' } });
    for (let index = 0; index < 5; index += 1) {
      const answer = await attempt();
      expect([answer.status, answer.body]).toEqual([401, { detail: 'Wrong username or password!' }]);
    }
    const answer = await attempt();
    expect(answer.status).toBe(429);
    expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0);
    expect(answer.body).toEqual({ detail: anyText });
  });
});

describe('a URL', () => {
  it.each([
    ['candypanel', '/clients/%zz'],
    ['wg-easy', '/api/wireguard/client/%zz'],
    ['v2ray', '/api/v1/%zz'],
    ['xray', '/api/%zz'],
  ] as const)('that is not encoded correctly is 400 in the shape of %s', async (dialect, path) => {
    const answer = await send('GET', path, { token });
    expect(answer.status).toBe(400);
    expect(answer.body).toEqual(shapes[dialect](anyText, 400, 'INVALID_REQUEST', 'Invalid input'));
    expect(answer.headers['x-request-id']).toMatch(/^[\w-]+$/);
  });

  it('may have a parameter as long as a name may be, and no longer than a line', async () => {
    expect((await send('GET', `/clients/${'a'.repeat(1000)}`, { token })).status).toBe(404);
    expect((await send('GET', `/clients/${'%F0%9F%98%80'.repeat(64)}`, { token })).status).toBe(404);
    const tooLong = await send('GET', `/clients/${'a'.repeat(2000)}`, { token });
    expect([tooLong.status, tooLong.body]).toEqual([404, { detail: 'Not Found' }]);
  });

  it('with a NUL in it is no fault of the server', async () => {
    expect((await send('GET', '/clients/a%00b', { token })).status).toBeLessThan(500);
  });

  it('of version 2 is 501, whatever the method', async () => {
    for (const method of ['GET', 'POST', 'DELETE']) {
      const answer = await send(method, '/api/v2/users/1');
      expect([answer.status, answer.body]).toEqual([501, { ok: false, error: anyText, code: 501 }]);
    }
  });
});

describe('what can hardly be read as a request', () => {
  /** Sends the text as it is and returns all that comes back. */
  const raw = (text: string): Promise<string> =>
    new Promise((resolve, reject) => {
      const { hostname, port } = new URL(server.url);
      const socket = connect(Number(port), hostname, () => socket.write(text));
      let told = '';
      socket.setEncoding('utf8').on('data', (chunk: string) => (told += chunk));
      socket.once('error', reject).once('close', () => resolve(told));
    });

  it('is 431 when its headers are too large', async () => {
    const told = await raw(`GET /clients HTTP/1.1\r\nHost: x\r\nX-Big: ${'x'.repeat(20_000)}\r\n\r\n`);
    expect(told).toMatch(/^HTTP\/1\.1 431 /);
    expect(told).toMatch(/\{"detail":"[^"]+"\}$/);
  });

  it('is 400 when it is not HTTP', async () => {
    const told = await raw('NONSENSE\r\n\r\n');
    expect(told).toMatch(/^HTTP\/1\.1 400 /);
    expect(told).toMatch(/\{"detail":"[^"]+"\}$/);
  });
});

describe('every answer', () => {
  it('carries the request id that the log line has', async () => {
    const given = await send('GET', '/nothing-here', { headers: { 'x-request-id': 'my-id-1' } });
    expect(given.headers['x-request-id']).toBe('my-id-1');
    await eventually(() => server.logs().includes('"requestId":"my-id-1"'));
    const forged = await send('GET', '/nothing-here', { headers: { 'x-request-id': 'a b"}' } });
    expect(forged.headers['x-request-id']).toMatch(/^[0-9a-f-]{36}$/);
  });

  it('keeps browsers from doing anything with it', async () => {
    for (const path of ['/clients', '/nothing-here', '/clients/%zz', '/api/ping']) {
      const { headers } = await send('GET', path);
      expect(headers['content-security-policy']).toContain("default-src 'none'");
      expect(headers['x-content-type-options']).toBe('nosniff');
      expect(headers['access-control-allow-origin']).toBeUndefined();
    }
    expect((await send('GET', '/clients', { token })).headers['cache-control']).toBe('no-store');
  });
});
