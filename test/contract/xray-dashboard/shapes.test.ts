import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { request } from '../../support/http.js';
import { Dashboard, failure } from './dashboard.js';

/** Every route that needs an admin. */
const routes: [string, string][] = [
  ['GET', '/api/usage/dashboard'],
  ['GET', '/api/usage/dates'],
  ['GET', '/api/usage/dashboard/2030-01-01'],
  ['GET', '/api/users'],
  ['POST', '/api/users/add'],
  ['POST', '/api/users/delete'],
  ['POST', '/api/users/kick'],
  ['POST', '/api/users/update-alias'],
  ['POST', '/api/users/update'],
  ['GET', '/api/users/link'],
  ['GET', '/api/users/stats'],
  ['GET', '/api/live/now'],
  ['GET', '/api/live/series'],
  ['GET', '/api/live/top'],
  ['GET', '/api/events'],
  ['GET', '/api/events/stats'],
  ['GET', '/api/system/status'],
  ['GET', '/api/system/resources'],
  ['GET', '/api/ports/status'],
  ['POST', '/api/system/restart'],
  ['GET', '/api/settings'],
  ['POST', '/api/settings'],
  ['GET', '/api/xray/config'],
  ['POST', '/api/xray/restart'],
  ['GET', '/api/xray/reality'],
  ['GET', '/api/collector/status'],
  ['POST', '/api/collector/toggle'],
  ['POST', '/api/collector/run'],
  ['GET', '/api/backups'],
  ['POST', '/api/backups'],
  ['GET', '/api/backups/x/preview'],
  ['GET', '/api/backups/x/download'],
  ['POST', '/api/backups/x/restore'],
  ['DELETE', '/api/backups/x'],
  ['GET', '/api/tests/run'],
  ['GET', '/api/tests/list'],
  ['GET', '/api/tests/status'],
];

describe('answers without an engine', () => {
  let dashboard: Dashboard;

  beforeAll(async () => {
    dashboard = await Dashboard.start({ namespace: false });
  });

  afterAll(async () => {
    await dashboard?.server.cleanup();
  });

  it('to a ping need no token', async () => {
    const answer = await request(dashboard.server, 'GET', '/api/ping');
    expect(answer).toMatchObject({ status: 200, body: { ok: true, message: 'pong' } });
    expect((answer.body as { ts: string }).ts).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
  });

  it('without a token are 401, to customers 403', async () => {
    const token = await dashboard.customerToken();
    for (const [method, path] of routes) {
      const none = await request(dashboard.server, method, path);
      expect(none, `${method} ${path}`).toMatchObject({ status: 401, body: failure(401) });
      const customer = await request(dashboard.server, method, path, { token });
      expect(customer, `${method} ${path}`).toMatchObject({ status: 403, body: failure(403) });
    }
  });

  it('to unknown routes, wrong methods and the second version have the shape of this API', async () => {
    for (const path of ['/api', '/api/nonsense', '/api/users/nonsense', '/api/PING']) {
      expect(await dashboard.call('GET', path), path).toMatchObject({ status: 404, body: failure(404) });
    }
    for (const [method, path] of [
      ['GET', '/api/users/add'],
      ['DELETE', '/api/users'],
      ['PUT', '/api/settings'],
      ['GET', '/api/xray/restart'],
    ] as const) {
      expect(await dashboard.call(method, path), path).toMatchObject({ status: 405, body: failure(405) });
    }
    expect(await dashboard.call('GET', '/api/v2/users')).toMatchObject({ status: 501, body: failure(501) });
  });

  it('to bodies that cannot be read are errors of this shape', async () => {
    for (const body of ['{', 'null', '[]', '"text"']) {
      const answer = await dashboard.call('POST', '/api/users/add', body);
      expect(answer, body).toMatchObject({ status: 400, body: failure(400) });
    }
    const large = await dashboard.call('POST', '/api/users/add', { email: 'x'.repeat(2 * 1024 * 1024) });
    expect(large).toMatchObject({ status: 413, body: failure(413) });
    const broken = await dashboard.call('GET', '/api/usage/dashboard/%E0%A4%A');
    expect(broken).toMatchObject({ status: 400, body: failure(400) });
  });

  it('are the same with a slash at the end', async () => {
    for (const path of ['/api/ping/', '/api/users/', '/api/settings/', '/api/tests/list/', '/api/live/now/']) {
      expect((await dashboard.call('GET', path)).status, path).toBe(200);
    }
  });

  it('to what needs the engine are 503 with the reason, and nothing is changed', async () => {
    for (const [path, body] of [
      ['/api/users/add', { email: 'a@example.com' }],
      ['/api/settings', { xray: { server_port: 8443 } }],
      ['/api/xray/restart', {}],
      ['/api/collector/run', {}],
    ] as const) {
      expect(await dashboard.call('POST', path, body), path).toMatchObject({ status: 503, body: failure(503) });
    }
    expect(await dashboard.read('/api/users')).toEqual({ ok: true, users: [] });
    expect(await dashboard.read('/api/settings')).toMatchObject({ settings: { xray: {} } });
    expect(await dashboard.call('GET', '/api/xray/reality')).toMatchObject({ status: 409, body: failure(409) });
    const { xray, ui } = await dashboard.read<{ xray: object; ui: object }>('/api/system/status');
    expect(xray).toMatchObject({ active: false, state: 'inactive' });
    expect(ui).toMatchObject({ active: true, state: 'active' });
  });

  it('to queries out of range are 400, to empty ones as if they were left out', async () => {
    for (const path of [
      '/api/usage/dashboard?days=0',
      '/api/usage/dashboard?days=367',
      '/api/usage/dashboard?days=x',
      '/api/usage/dashboard?days=1&days=2',
      '/api/usage/dashboard/2030-02-31',
      '/api/usage/dashboard/2130-01-01',
      '/api/usage/dashboard/yesterday',
      '/api/live/series?metric=nonsense',
      '/api/live/series?period=59',
      '/api/live/series?granularity=1',
      '/api/live/series?period=60&granularity=3600',
      '/api/live/series?gran=-60',
      '/api/live/top?metric=online_users',
      '/api/live/top?limit=51',
      '/api/live/top?period=9999999',
      '/api/events?limit=0',
      '/api/events?hours=9601',
      '/api/events?severity=LOUD',
      '/api/events/stats?hours=none',
    ]) {
      expect(await dashboard.call('GET', path), path).toMatchObject({ status: 400, body: failure(400) });
    }
    for (const path of ['/api/usage/dashboard?days=7&user=', '/api/live/series?metric=&period=', '/api/events?type=']) {
      expect((await dashboard.call('GET', path)).status, path).toBe(200);
    }
    const unknown = await dashboard.call('GET', '/api/usage/dashboard?user=nobody@example.com');
    expect(unknown).toMatchObject({ status: 404, body: failure(404) });
  });
});
