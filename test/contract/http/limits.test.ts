import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Answer, request, type RequestOptions } from '../../support/http.js';
import { type Server, startServer } from '../../support/server.js';

const password = 'a-good-password';
let server: Server;

beforeAll(async () => {
  server = await startServer({
    namespace: false,
    env: { ADMIN_PASSWORD: password, RATE_LIMITS: 'on', TRUST_PROXY: 'true' },
  });
});

afterAll(() => server?.cleanup());

// Each test comes from addresses of its own, so that none uses up another's limit.
let address = 0;
const newAddress = () => `198.51.100.${(address += 1)}`;

const send = (method: string, path: string, from: string, options: RequestOptions = {}): Promise<Answer> =>
  request(server, method, path, { ...options, headers: { ...options.headers, 'x-forwarded-for': from } });

const login = async (): Promise<string> => {
  const body = { username: 'admin', password };
  const answer = await request<{ access_token: string }>(server, 'POST', '/login', { body });
  return answer.body.access_token;
};

const statuses = async (times: number, work: () => Promise<Answer>): Promise<number[]> => {
  const seen: number[] = [];
  for (let index = 0; index < times; index += 1) seen.push((await work()).status);
  return seen;
};

const times = (count: number, status: number): number[] => Array.from({ length: count }, () => status);

describe("wg-easy's limits", () => {
  it('let five logins a minute through for an address, malformed ones too', async () => {
    const from = newAddress();
    const attempt = () => send('POST', '/api/session', from, { body: '{' });
    expect(await statuses(5, attempt)).toEqual(times(5, 400));
    const answer = await attempt();
    expect(answer.status).toBe(429);
    const seconds = Number(answer.headers['retry-after']);
    expect(seconds).toBeGreaterThan(0);
    expect(seconds).toBeLessThanOrEqual(60);
    expect(answer.body).toEqual({ error: 'Rate limit exceeded', retryAfter: seconds });
    expect((await send('POST', '/api/session', newAddress(), { body: '{' })).status).toBe(400);
  });

  it('say on every answer what is left', async () => {
    const from = newAddress();
    const first = await send('POST', '/api/session', from, { body: { password } });
    expect(first.status).toBe(200);
    expect(first.headers).toMatchObject({ 'x-ratelimit-limit': '5', 'x-ratelimit-remaining': '4' });
    const reset = Number(first.headers['x-ratelimit-reset']);
    expect(Math.abs(reset - Date.now() / 1000 - 60)).toBeLessThan(3);
    const second = await send('POST', '/api/session', from, { body: '{' });
    expect(second.headers).toMatchObject({ 'x-ratelimit-remaining': '3', 'x-ratelimit-reset': String(reset) });
  });

  it('count a list for the session that asks, whatever its address', async () => {
    const [one, two] = [await login(), await login()];
    const list = (token: string) => send('GET', '/api/wireguard/client', newAddress(), { token });
    expect(await statuses(60, () => list(one))).toEqual(times(60, 200));
    expect((await list(one)).status).toBe(429);
    expect((await list(two)).status).toBe(200);
  });

  it('count deletions of all callers together', async () => {
    const token = await login();
    const path = '/api/wireguard/client/00000000-0000-4000-8000-000000000000';
    const remove = () => send('DELETE', path, newAddress(), { token });
    const stranger = newAddress();
    expect(await statuses(11, () => send('DELETE', path, stranger))).toEqual([...times(10, 401), 429]);
    expect(await statuses(10, remove)).not.toContain(429);
    expect((await remove()).status).toBe(429);
    expect((await send('GET', path, newAddress(), { token })).status).toBe(404);
  });
});

describe("V2Ray's limits", () => {
  const path = '/api/v1/nothing/';

  it('let ten requests a minute through for an anonymous address, unknown routes too', async () => {
    const from = newAddress();
    const first = await send('GET', path, from);
    expect(first.headers).toMatchObject({ 'x-ratelimit-limit': '10', 'x-ratelimit-remaining': '9' });
    expect(await statuses(9, () => send('GET', path, from))).toEqual(times(9, 404));
    const answer = await send('GET', path, from);
    expect(answer.status).toBe(429);
    expect(answer.headers).toMatchObject({ 'x-ratelimit-limit': '10', 'x-ratelimit-remaining': '0' });
    expect(answer.headers['retry-after']).toBeDefined();
    expect(answer.body).toEqual({ error: 'Rate limit exceeded', detail: 'Rate limit exceeded' });
    // Each dialect counts apart.
    expect((await send('GET', '/nothing-here', from)).status).toBe(404);
  });

  it('let sixty through for a user, from all addresses together', async () => {
    const token = await login();
    const first = await send('GET', path, newAddress(), { token });
    expect(first.headers).toMatchObject({ 'x-ratelimit-limit': '60' });
    const rest = Number(first.headers['x-ratelimit-remaining']);
    expect(await statuses(rest, () => send('GET', path, newAddress(), { token }))).toEqual(times(rest, 404));
    expect((await send('GET', path, newAddress(), { token })).status).toBe(429);
  });

  it('do not take a made-up token for a user', async () => {
    const answer = await send('GET', path, newAddress(), { token: 'made-up-token-of-some-length' });
    expect(answer.headers).toMatchObject({ 'x-ratelimit-limit': '10' });
  });

  it('take the /64 of IPv6 for one address', async () => {
    const first = await send('GET', path, '2001:db8:0:1::1');
    const second = await send('GET', path, '2001:db8:0:1:ffff::1');
    expect([first, second].map(({ headers }) => headers['x-ratelimit-remaining'])).toEqual(['9', '8']);
  });
});

describe('a forwarded header that holds no address', () => {
  it('counts as none', async () => {
    const left: unknown[] = [];
    for (const from of ['unknown', 'x'.repeat(5_000), '<script>']) {
      left.push((await send('GET', '/api/v1/nothing/', from)).headers['x-ratelimit-remaining']);
    }
    expect(left).toEqual(['9', '8', '7']);
  });
});

describe('health and metrics', () => {
  it('are not limited', async () => {
    expect(new Set(await statuses(700, () => send('GET', '/healthz', '203.0.113.1')))).toEqual(new Set([200]));
  });
});

describe('a forwarded header without TRUST_PROXY', () => {
  beforeAll(() => server.restart({ TRUST_PROXY: '' }));

  it('does not count, and is warned of once', async () => {
    const from = [newAddress(), newAddress(), newAddress()];
    const left: unknown[] = [];
    for (const one of from) left.push((await send('GET', '/api/v1/nothing/', one)).headers['x-ratelimit-remaining']);
    expect(left).toEqual(['9', '8', '7']);
    expect(server.logs().match(/set TRUST_PROXY/g)).toHaveLength(1);
  });
});

describe('RATE_LIMITS', () => {
  it('multiplies the documented limits', async () => {
    await server.restart({ RATE_LIMITS: 'x3' });
    const answer = await send('GET', '/api/v1/nothing/', newAddress());
    expect(answer.headers).toMatchObject({ 'x-ratelimit-limit': '30', 'x-ratelimit-remaining': '29' });
  });

  it('switches them off, and the headers still tell the documented limit', async () => {
    await server.restart({ RATE_LIMITS: 'off' });
    const answers = await statuses(20, () => send('GET', '/api/v1/nothing/', newAddress()));
    expect(answers).toEqual(times(20, 404));
    const answer = await send('GET', '/api/v1/nothing/', newAddress());
    expect(answer.headers).toMatchObject({ 'x-ratelimit-limit': '10', 'x-ratelimit-remaining': '10' });
  });
});
