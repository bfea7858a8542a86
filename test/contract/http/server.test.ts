import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { request, type RequestOptions } from '../../support/http.js';
import { type Server, startServer } from '../../support/server.js';

const password = 'a-good-password';
const metricsToken = 'a-token-for-scrapes';
let server: Server;
let token: string;

beforeAll(async () => {
  server = await startServer({
    namespace: false,
    env: { ADMIN_PASSWORD: password, METRICS_TOKEN: metricsToken, CORS_ORIGINS: 'https://panel.example.org' },
  });
  const body = { username: 'admin', password };
  token = (await request<{ access_token: string }>(server, 'POST', '/login', { body })).body.access_token;
});

afterAll(() => server?.cleanup());

const get = <T = unknown>(path: string, options?: RequestOptions) => request<T>(server, 'GET', path, options);

interface Readiness {
  status: string;
  parts: { name: string; state: string; message: string; hint: string | null }[];
}

describe('health', () => {
  it('says that the process is alive', async () => {
    const answer = await get('/healthz');
    expect(answer.status).toBe(200);
    expect(answer.body).toEqual({ status: 'ok', uptime_seconds: expect.any(Number) as unknown });
  });

  it('is ready without an engine that this installation does not have, and names it', async () => {
    const answer = await get<Readiness>('/readyz');
    expect(answer.status).toBe(200);
    expect(answer.body.status).toBe('ready');
    const states = Object.fromEntries(answer.body.parts.map(({ name, state }) => [name, state]));
    expect(states).toMatchObject({ database: 'up', migrations: 'up', wireguard: 'absent' });
  });
});

describe('metrics', () => {
  const proxied = { 'x-forwarded-for': '203.0.113.9' };

  it('are for this host itself, but not for what came through a proxy on it', async () => {
    const answer = await get<string>('/metrics');
    expect(answer.status).toBe(200);
    expect(answer.headers['content-type']).toMatch(/^text\/plain/);
    expect(answer.body).toMatch(/^process_cpu_user_seconds_total /m);
    expect((await get('/metrics', { headers: proxied })).status).toBe(401);
    expect((await get('/metrics', { headers: { forwarded: 'for=203.0.113.9' } })).status).toBe(401);
  });

  it('are for METRICS_TOKEN and for admins', async () => {
    for (const good of [metricsToken, token]) {
      expect((await get('/metrics', { token: good, headers: proxied })).status).toBe(200);
    }
    expect((await get('/metrics', { token: 'wrong-token-of-some-length', headers: proxied })).status).toBe(401);
    // The token of scrapes opens nothing else.
    expect((await get('/clients', { token: metricsToken })).status).toBe(401);
  });

  it('count requests by route and never by path', async () => {
    await get('/clients/some-name', { token });
    const { body } = await get<string>('/metrics');
    expect(body).toMatch(/causeway_http_request_duration_seconds_count\{[^}]*route="\/clients\/:client_name"/);
    expect(body).not.toContain('some-name');
  });
});

describe('the documents', () => {
  const names = ['candypanel', 'wg-easy', 'v2ray-accounts', 'xray-dashboard', 'ccpanel'];

  it('are served with Swagger UI, which its own policy lets run', async () => {
    for (const path of ['/docs', ...names.map((name) => `/docs/${name}`)]) {
      const page = await get<string>(path);
      expect(page.status).toBe(200);
      expect(page.body).toContain('swagger-ui');
      expect(page.headers['content-security-policy']).toContain("script-src 'self'");
      const scripts = [...page.body.matchAll(/<script src="([^"]+)"/g)].map(([, source]) => source ?? '');
      expect(scripts.length).toBeGreaterThan(1);
      for (const source of scripts) {
        const { pathname } = new URL(source, `http://host${path}`);
        expect((await get(pathname)).headers['content-type']).toMatch(/javascript/);
      }
      // The policy allows no script in the page itself.
      expect(page.body).not.toMatch(/<script>/);
    }
  });

  it('are served as JSON, each dialect alone and all together', async () => {
    const paths = async (file: string) =>
      Object.keys((await get<{ paths: Record<string, unknown> }>(file)).body.paths).sort();
    const all = await paths('/openapi.json');
    const parts = (await Promise.all(names.map((name) => paths(`/openapi/${name}.json`)))).flat();
    expect(all).toEqual([...parts, '/healthz', '/metrics', '/readyz'].sort());
  });
});

describe('other origins', () => {
  it('are let in when they are named, and only then', async () => {
    const asked = (origin: string) => get('/api/ping', { headers: { origin } });
    expect((await asked('https://panel.example.org')).headers['access-control-allow-origin']).toBe(
      'https://panel.example.org',
    );
    expect((await asked('https://evil.example')).headers['access-control-allow-origin']).toBeUndefined();
  });

  it('may ask beforehand for any method', async () => {
    const answer = await request(server, 'OPTIONS', '/clients/alice', {
      headers: {
        origin: 'https://panel.example.org',
        'access-control-request-method': 'PUT',
        'access-control-request-headers': 'authorization,content-type',
      },
    });
    expect(answer.status).toBe(204);
    expect(answer.headers['access-control-allow-methods']).toMatch(/PUT/);
  });
});
