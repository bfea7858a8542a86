import type { Server as HttpServer } from 'node:http';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type ProxyClient, startByteServer } from '../../support/proxy-client.js';
import { eventually } from '../../support/wait.js';
import { connectLink, Dashboard, failure, type UserItem } from './dashboard.js';

const KILOBYTES_300 = 300_000;
const UNKNOWN = { email: 'nobody@example.com' };

describe('users', () => {
  let dashboard: Dashboard;
  let files: { port: number; server: HttpServer };
  const clients: ProxyClient[] = [];

  beforeAll(async () => {
    dashboard = await Dashboard.start();
    files = await startByteServer('0.0.0.0');
    const set = await dashboard.call('POST', '/api/settings', {
      xray: { server_host: dashboard.server.host, server_port: 8443, security: 'none', flow: '' },
    });
    expect(set).toMatchObject({ status: 200, body: { ok: true } });
  });

  afterEach(async () => {
    for (const client of clients.splice(0)) await client.stop();
  });

  afterAll(async () => {
    files?.server.closeAllConnections();
    files?.server.close();
    await dashboard?.server.cleanup();
  });

  async function clientOf(email: string): Promise<ProxyClient> {
    const client = await connectLink(await dashboard.link(email));
    clients.push(client);
    return client;
  }

  const download = (client: ProxyClient) =>
    client.download(dashboard.server.outsideHost, files.port, KILOBYTES_300, 3_000);

  it('are added, listed, renamed and deleted', async () => {
    const answer = await dashboard.call<{ user: UserItem }>('POST', '/api/users/add', { email: 'First@Example.com' });
    expect(answer).toMatchObject({
      status: 200,
      body: { ok: true, user: { email: 'First@Example.com', alias: '', flow: '', enabled: true, active: true } },
    });
    const { uuid } = answer.body.user;
    expect(uuid).toMatch(/^[0-9a-f-]{36}$/);
    const { users } = await dashboard.read<{ users: UserItem[] }>('/api/users');
    expect(users.find((user) => user.uuid === uuid)).toEqual(answer.body.user);

    const renamed = await dashboard.call('POST', '/api/users/update-alias', {
      email: 'first@example.com',
      alias: 'Имя',
    });
    expect(renamed).toMatchObject({ status: 200, body: { ok: true } });
    const after = await dashboard.read<{ users: UserItem[] }>('/api/users');
    expect(after.users.find((user) => user.uuid === uuid)?.alias).toBe('Имя');

    expect(await dashboard.call('POST', '/api/users/delete', { uuid })).toMatchObject({ status: 200 });
    expect(await dashboard.call('POST', '/api/users/delete', { uuid })).toMatchObject({
      status: 404,
      body: failure(404),
    });
  });

  it('have a link with a QR code', async () => {
    const { uuid } = await dashboard.add('link@example.com', { alias: 'Linked' });
    for (const query of [`uuid=${uuid}&email=link@example.com`, `uuid=${uuid}&email=`, 'email=LINK@example.com']) {
      const answer = await dashboard.call<{ link: string; qr: string }>('GET', `/api/users/link?${query}`);
      expect(answer).toMatchObject({ status: 200, body: { ok: true } });
      const link = new URL(answer.body.link);
      expect([link.protocol, link.username, link.host]).toEqual(['vless:', uuid, `${dashboard.server.host}:8443`]);
      expect(answer.body.qr).toMatch(/^data:image\/png;base64,/);
    }
    const disagree = await dashboard.call('GET', `/api/users/link?uuid=${uuid}&email=other@example.com`);
    expect(disagree).toMatchObject({ status: 404, body: failure(404) });
  });

  it('are unique without regard to case', async () => {
    await dashboard.add('Twin@example.com');
    const twin = await dashboard.call('POST', '/api/users/add', { email: 'tWIN@EXAMPLE.com' });
    expect(twin).toMatchObject({ status: 409, body: failure(409) });
  });

  it('with emails that are none are 400, and nobody is added', async () => {
    const before = await dashboard.read<{ users: UserItem[] }>('/api/users');
    const bad = [
      '',
      'plain',
      'a@b@c',
      'a b@example.com',
      'a"@example.com',
      "a'@example.com",
      'a\n@example.com',
      'a>>>traffic@example.com',
      '${x}@example.com',
      '<a@example.com>',
      `${'x'.repeat(300)}@example.com`,
      5,
      null,
      ['a@example.com'],
      { email: 'a@example.com' },
    ];
    for (const email of bad) {
      const answer = await dashboard.call('POST', '/api/users/add', { email });
      expect(answer, JSON.stringify(email)).toMatchObject({ status: 400, body: failure(400) });
    }
    expect(await dashboard.call('POST', '/api/users/add', '')).toMatchObject({ status: 400 });
    expect(await dashboard.read('/api/users')).toEqual(before);
  });

  it('who are unknown are 404, who are not named 400', async () => {
    for (const [path, extra] of [
      ['/api/users/delete', {}],
      ['/api/users/kick', {}],
      ['/api/users/update-alias', { alias: 'x' }],
      ['/api/users/update', { enabled: false }],
    ] as const) {
      for (const who of [UNKNOWN, { uuid: '00000000-0000-4000-8000-000000000000' }, { uuid: 'malformed' }]) {
        const answer = await dashboard.call('POST', path, { ...who, ...extra });
        expect(answer, path).toMatchObject({ status: 404, body: failure(404) });
      }
      expect(await dashboard.call('POST', path, extra), path).toMatchObject({ status: 400, body: failure(400) });
    }
    expect(await dashboard.call('GET', '/api/users/link')).toMatchObject({ status: 400, body: failure(400) });
    const link = await dashboard.call('GET', `/api/users/link?email=${UNKNOWN.email}`);
    expect(link).toMatchObject({ status: 404, body: failure(404) });
  });

  it('download through their link, which shows in stats, live and usage', async () => {
    const { uuid } = await dashboard.add('ann@example.com', { alias: 'Ann' });
    const client = await clientOf('ann@example.com');
    expect(await download(client)).toBe(KILOBYTES_300);

    type Stats = { traffic: number; conns: number; isOnline: boolean; daysUsed: number };
    const stats = await eventually(async () => {
      const run = await dashboard.call('POST', '/api/collector/run', { include_today: true });
      // The poll of this moment may be the one that is running.
      if (run.status !== 409) expect(run).toMatchObject({ status: 200, body: { ok: true } });
      const body = await dashboard.read<{ stats: Record<string, Stats> }>('/api/users/stats');
      const own = body.stats['ann@example.com'];
      return own !== undefined && own.traffic >= KILOBYTES_300 && own.conns >= 1 && own;
    });
    expect(stats).toMatchObject({ isOnline: true, totalTrafficBytes: stats.traffic, daysUsed: 1 });
    expect(stats).toMatchObject({ firstSeenAt: expect.any(String), lastSeenAt: expect.any(String) });

    const now = await dashboard.read('/api/live/now');
    expect(now).toMatchObject({
      ok: true,
      users: [{ email: 'ann@example.com', alias: 'Ann', conns: 1, ips: [dashboard.server.outsideHost] }],
      total: { users: 1, conns: 1 },
      now: { onlineUsers: ['ann@example.com'], conns: 1, trafficBytes: stats.traffic },
    });
    const sum = async (query: string) =>
      (await dashboard.read<{ series: { time: string; value: number }[] }>(`/api/live/series?${query}`)).series.reduce(
        (total, { value }) => total + value,
        0,
      );
    expect(await sum('metric=traffic&period=3600&granularity=60')).toBe(stats.traffic);
    expect(await sum('metric=conns&period=3600&gran=600')).toBe(1);
    const top = await dashboard.read('/api/live/top?metric=traffic&period=3600&limit=10');
    expect(top).toMatchObject({ top: [{ user: 'ann@example.com', value: stats.traffic }] });

    interface Usage {
      meta: { days: string[] };
      global: { daily_traffic_bytes: number[] };
      users: Record<string, { sum7_traffic_bytes: number }>;
    }
    const usage = await dashboard.read<Usage>('/api/usage/dashboard?days=7&user=');
    expect(usage.meta.days).toHaveLength(7);
    expect(usage.global.daily_traffic_bytes).toEqual([0, 0, 0, 0, 0, 0, stats.traffic]);
    expect(usage.users['ann@example.com']).toMatchObject({ uuid, sum7_traffic_bytes: stats.traffic, sum7_conns: 1 });
    const today = usage.meta.days[6]!;
    expect(await dashboard.read('/api/usage/dates')).toEqual({ ok: true, dates: [today] });
    const day = await dashboard.read<Usage>(`/api/usage/dashboard/${today}`);
    expect(day.global.daily_traffic_bytes).toEqual([stats.traffic]);
  });

  it('who are kicked are out with the old link and in with the new one, without a restart of the engine', async () => {
    const { uuid } = await dashboard.add('kicked@example.com');
    const old = await clientOf('kicked@example.com');
    expect(await download(old)).toBe(KILOBYTES_300);
    const pid = await enginePids();
    const kicked = await dashboard.call<{ new_uuid: string }>('POST', '/api/users/kick', {
      email: 'kicked@example.com',
    });
    expect(kicked).toMatchObject({ status: 200, body: { ok: true } });
    expect(kicked.body.new_uuid).not.toBe(uuid);
    expect(await download(old)).toBe(0);
    const fresh = await clientOf('kicked@example.com');
    expect(await download(fresh)).toBe(KILOBYTES_300);
    expect(await enginePids()).toBe(pid);
  });

  it('who are switched off or past their quota do not get in', async () => {
    await dashboard.add('off@example.com');
    const client = await clientOf('off@example.com');
    expect(await download(client)).toBe(KILOBYTES_300);
    const change = (fields: object) =>
      dashboard.call('POST', '/api/users/update', { email: 'off@example.com', ...fields });
    expect(await change({ enabled: false })).toMatchObject({
      status: 200,
      body: { user: { enabled: false, active: false } },
    });
    expect(await download(client)).toBe(0);
    expect(await change({ enabled: true, expires_at: '2099-01-01T00:00:00Z' })).toMatchObject({
      status: 200,
      body: { user: { active: true, expires_at: '2099-01-01T00:00:00Z' } },
    });
    expect(await download(client)).toBe(KILOBYTES_300);
    expect(await change({ expires_at: '2020-01-01' })).toMatchObject({
      body: { user: { active: false, ended_reason: 'expired' } },
    });
    expect(await download(client)).toBe(0);
    expect(await change({})).toMatchObject({ status: 400, body: failure(400) });
  });

  async function enginePids(): Promise<string> {
    const { stdout } = await dashboard.server.exec(['pgrep', '-f', dashboard.server.dataDir]);
    return stdout;
  }
});
