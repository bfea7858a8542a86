import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Dashboard, failure } from './dashboard.js';

interface Settings {
  settings: {
    ui: Record<string, unknown>;
    xray: Record<string, unknown>;
    collector: { enabled: boolean; script: string };
  };
}

describe('settings, engine and collector', () => {
  let dashboard: Dashboard;

  beforeAll(async () => {
    dashboard = await Dashboard.start();
  });

  afterAll(async () => {
    await dashboard?.server.cleanup();
  });

  const settings = async () => (await dashboard.read<Settings>('/api/settings')).settings;
  const set = (body: unknown) => dashboard.call('POST', '/api/settings', body);

  it('of the front end are merged deeply, keys that nobody knows too', async () => {
    expect(await set({ ui: { theme: 'dark', panes: { left: 1, deep: { a: [1] } } } })).toMatchObject({ status: 200 });
    expect(await set({ ui: { lang: 'ru', panes: { right: 2, deep: { b: null } } } })).toMatchObject({
      status: 200,
      body: { ok: true },
    });
    expect((await settings()).ui).toMatchObject({
      theme: 'dark',
      lang: 'ru',
      panes: { left: 1, right: 2, deep: { a: [1] } },
    });
  });

  it('of the inbound take effect within the request', async () => {
    expect((await settings()).xray).toEqual({});
    const answer = await set({
      xray: {
        server_host: 'vpn.example.com',
        server_port: 8443,
        network: 'ws',
        path: '/ws',
        security: 'none',
        flow: '',
      },
    });
    expect(answer).toMatchObject({ status: 200, body: { ok: true } });
    expect((await settings()).xray).toMatchObject({
      server_host: 'vpn.example.com',
      server_port: 8443,
      protocol: 'vless',
      network: 'ws',
      path: '/ws',
    });
    const { config } = await dashboard.read<{ config: { inbounds: { port?: number }[] } }>('/api/xray/config');
    expect(config.inbounds.map(({ port }) => port)).toContain(8443);
    const listening = await dashboard.server.exec(['ss', '-Hltn', 'sport = :8443']);
    expect(listening.stdout).toContain(':8443');
    // What a front end reads it may write back.
    expect(await set(await settings())).toMatchObject({ status: 200 });
  });

  it('that make no sense, or that the engine cannot do, are 400 and change nothing', async () => {
    const before = await settings();
    for (const body of [
      { xray: { server_port: 0 } },
      { xray: { server_port: 65536 } },
      { xray: { protocol: 'socks' } },
      { xray: { network: 'carrier-pigeon' } },
      { xray: { server_host: 'no host' } },
      { xray: { inbound_tag: 'a b' } },
      { xray: { security: 'tls' } },
      { xray: { certificate: 'x', key: 'y' } },
      { xray: { server_port: 9443, path: '/no space', network: 'ws' } },
      { xray: 5 },
      { xray: [] },
      { ui: 'dark' },
      { ui: [] },
      { ui: { a: 'x'.repeat(70_000) } },
      { collector: { enabled: 'yes' } },
      { collector: { script: 'x'.repeat(256) } },
      { ui: { theme: 'light' }, xray: { fp: 'lynx' } },
    ]) {
      const answer = await set(body);
      expect(answer, JSON.stringify(body).slice(0, 80)).toMatchObject({ status: 400, body: failure(400) });
    }
    expect(await settings()).toEqual(before);
    // A v2ray knows no reality, an Xray does.
    const reality = await dashboard.call('GET', '/api/xray/reality');
    expect(reality).toMatchObject({ status: 409, body: failure(409) });
  });

  it('let the engine be restarted', async () => {
    const pids = async () => (await dashboard.server.exec(['pgrep', '-f', dashboard.server.dataDir])).stdout;
    const before = await pids();
    const answer = await dashboard.call('POST', '/api/xray/restart', '', {
      headers: { 'content-type': 'application/json' },
    });
    expect(answer).toMatchObject({ status: 200, body: { ok: true, message: 'restarted' } });
    expect(await pids()).not.toBe(before);
    const again = await dashboard.call('POST', '/api/system/restart', { target: 'xray' });
    expect(again).toMatchObject({ status: 200, body: { ok: true, message: 'restarted', service: 'xray' } });
  });

  it('of the collector survive a restart of this server', async () => {
    const before = await dashboard.read<{ status: object }>('/api/collector/status');
    expect(before.status).toMatchObject({ enabled: true });
    const off = await dashboard.call('POST', '/api/collector/toggle', { enabled: false, script: 'daily.sh; rm -rf /' });
    expect(off).toMatchObject({ status: 200, body: { ok: true, enabled: false } });
    await dashboard.server.restart();
    await dashboard.engineIsUp();
    expect(await dashboard.read('/api/collector/status')).toMatchObject({
      status: { enabled: false, script: 'daily.sh; rm -rf /' },
    });
    expect((await settings()).collector).toEqual({ enabled: false, script: 'daily.sh; rm -rf /' });
    const run = await dashboard.call('POST', '/api/collector/run', { include_today: false });
    expect(run).toMatchObject({ status: 200, body: { ok: true } });
    const today = new Date().toISOString().slice(0, 10);
    expect(await dashboard.read('/api/collector/status')).toMatchObject({
      status: { enabled: false, newest_date: today, lag_days: 0 },
    });
    for (const body of [{}, { enabled: 'yes' }, { enabled: true, script: 5 }]) {
      expect(await dashboard.call('POST', '/api/collector/toggle', body)).toMatchObject({ status: 400 });
    }
    expect(await dashboard.call('POST', '/api/collector/run', { include_today: 'x' })).toMatchObject({ status: 400 });
  });
});
