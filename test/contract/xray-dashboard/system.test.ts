import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Dashboard, failure } from './dashboard.js';

interface Port {
  port: number;
  status: string;
  service: string;
}

interface Check {
  ok: boolean;
  duration_ms: number;
  message: string;
  hint: string | null;
}

const checkNames = ['database', 'engines', 'ports', 'disk', 'data_dir', 'backups', 'clock', 'forwarding'];

describe('the system', () => {
  let dashboard: Dashboard;

  beforeAll(async () => {
    dashboard = await Dashboard.start();
    await dashboard.call('POST', '/api/settings', { xray: { server_port: 8443, security: 'none', flow: '' } });
  });

  afterAll(async () => {
    await dashboard?.server.cleanup();
  });

  it('has services and resources', async () => {
    expect(await dashboard.read('/api/system/status')).toMatchObject({
      ok: true,
      ui: { active: true, state: 'active' },
      xray: { active: true, state: 'active' },
      nextjs: { active: true, state: 'active' },
      wireguard: { active: true, state: 'active' },
    });
    const resources = await dashboard.read<Record<string, Record<string, number>>>('/api/system/resources');
    for (const part of ['memory', 'disk']) {
      const { total, used, available, percent } = resources[part]!;
      expect(total! > 0 && used! > 0 && available! > 0 && used! <= total!, part).toBe(true);
      expect(percent! > 0 && percent! <= 100, part).toBe(true);
    }
    expect(resources['cpu']!['percent']).toBeGreaterThanOrEqual(0);
    expect(resources).toMatchObject({ ok: true, load: {}, network: {}, cpu: { count: expect.any(Number) } });
  });

  it('has ports, each tried', async () => {
    const headers = { 'x-setup-token': 'unused' };
    const install = await dashboard.call(
      'POST',
      '/install',
      {
        server_ip: dashboard.server.endpointHost,
        wg_port: 51820,
        wg_address_range: '10.0.0.1/24',
        wg_dns: '8.8.8.8',
        admin_user: 'admin',
        admin_password: 'unused password',
      },
      { headers },
    );
    expect(install.status).toBe(200);
    const { ports } = await dashboard.read<{ ports: Port[] }>('/api/ports/status');
    expect(ports).toMatchObject([
      { port: 8000, status: 'running', service: 'http', protocol: 'tcp' },
      { port: 51820, status: 'running', service: 'wireguard', protocol: 'udp', name: 'wg0' },
      { port: 8443, status: 'running', service: 'xray', protocol: 'tcp' },
    ]);
  });

  it('checks itself, once for all who ask at once', async () => {
    const fresh = await dashboard.read<{ tests: { name: string; status: string }[] }>('/api/tests/list');
    expect(fresh.tests.map(({ name, status }) => [name, status])).toEqual(checkNames.map((name) => [name, 'pending']));
    expect(await dashboard.read('/api/tests/status')).toMatchObject({ ok: true, status: 'ready', last_run: null });

    const [one, two] = await Promise.all([
      dashboard.read<{ ok: true; results: Record<string, Check> }>('/api/tests/run'),
      dashboard.read('/api/tests/run'),
    ]);
    expect(two).toEqual(one);
    expect(Object.keys(one.results).sort()).toEqual([...checkNames].sort());
    for (const [name, check] of Object.entries(one.results)) {
      expect(check, name).toMatchObject({ ok: true, hint: null, message: expect.any(String) });
      expect(Number.isInteger(check.duration_ms), name).toBe(true);
    }
    const done = await dashboard.read<{ status: string; last_run: string }>('/api/tests/status');
    expect(done).toMatchObject({ status: 'ready', progress: { done: 8, total: 8 } });
    expect(done.last_run).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
    const after = await dashboard.read<{ tests: { status: string }[] }>('/api/tests/list');
    expect(new Set(after.tests.map(({ status }) => status))).toEqual(new Set(['passed']));
  });

  it('says what is wrong, and what mends it', async () => {
    await dashboard.server.exec(['sysctl', '-qw', 'net.ipv4.ip_forward=0']);
    const { results } = await dashboard.read<{ results: Record<string, Check> }>('/api/tests/run');
    expect(results['database']).toMatchObject({ ok: true });
    expect(results['forwarding']).toMatchObject({ ok: false, hint: expect.stringContaining('ip_forward=1') });
    const list = await dashboard.read<{ tests: { name: string; status: string }[] }>('/api/tests/list');
    expect(list.tests.find(({ name }) => name === 'forwarding')?.status).toBe('failed');
    await dashboard.server.exec(['sysctl', '-qw', 'net.ipv4.ip_forward=1']);
  });

  it('records what admins do, with filters, totals, paging and statistics', async () => {
    await dashboard.add('event@example.com');
    await dashboard.call('POST', '/api/users/delete', { email: 'event@example.com' });
    interface Events {
      events: { action: string; target: string; ts: string }[];
      total: number;
    }
    const users = await dashboard.read<Events>('/api/events?limit=100&hours=24&type=USER&severity=INFO');
    const own = users.events.filter(({ target }) => target === 'event@example.com');
    expect(own.map(({ action }) => action)).toEqual(['user_removed', 'user_created']);
    expect(own[0]).toMatchObject({
      id: expect.any(String),
      type: 'USER',
      severity: 'INFO',
      service: 'xray',
      actor: 'admin',
      ip: dashboard.server.outsideHost,
      message: expect.any(String),
      details: {},
    });
    expect(users.total).toBe(users.events.length);
    const second = await dashboard.read<Events>('/api/events?type=user&limit=1&offset=1');
    expect(second.events).toEqual([users.events[1]]);
    expect(second.total).toBe(users.total);
    const { stats } = await dashboard.read<{ stats: Record<string, Record<string, number>> }>('/api/events/stats');
    expect(stats['by_type']!['USER']).toBe(users.total);
    expect(stats['by_severity']!['INFO']).toBeGreaterThanOrEqual(users.total);
    expect(stats['by_service']!['xray']).toBeGreaterThanOrEqual(users.total);
  });

  it('restarts nothing that it does not know, and not itself when nobody would start it again', async () => {
    for (const body of [{}, { target: 'ssh' }, { target: '' }, { target: 5 }, { target: 'wireguard' }]) {
      const answer = await dashboard.call('POST', '/api/system/restart', body);
      expect(answer, JSON.stringify(body)).toMatchObject({ status: 400, body: failure(400) });
    }
    for (const target of ['ui', 'nextjs']) {
      const answer = await dashboard.call('POST', '/api/system/restart', { target });
      expect(answer).toMatchObject({ status: 409, body: failure(409) });
    }
    expect(dashboard.server.running).toBe(true);
  });

  it('ends itself gracefully after the answer when it is supervised', async () => {
    await dashboard.server.restart({ SUPERVISED: 'true' });
    const answer = await dashboard.call('POST', '/api/system/restart', { target: 'ui' });
    expect(answer).toMatchObject({ status: 200, body: { ok: true, service: 'ui' } });
    expect(await dashboard.server.exited()).toBe(0);
    await dashboard.server.start();
    expect(await dashboard.read('/api/events?type=SYSTEM')).toMatchObject({
      events: expect.arrayContaining([expect.objectContaining({ action: 'server_restarted', actor: 'admin' })]),
    });
  });
});
