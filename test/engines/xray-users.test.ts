import { once } from 'node:events';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Server } from 'node:http';
import { createServer } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { EnginesService } from '../../src/domain/engines/engines.service.js';
import { EventsService } from '../../src/domain/events/events.service.js';
import { ProxyEnginePort } from '../../src/domain/xray/proxy-engine.port.js';
import { XrayCollectorService } from '../../src/domain/xray/xray-collector.service.js';
import { XrayEngineService } from '../../src/domain/xray/xray-engine.service.js';
import { XrayLiveService } from '../../src/domain/xray/xray-live.service.js';
import { XraySettingsService } from '../../src/domain/xray/xray-settings.service.js';
import { XrayUsageService } from '../../src/domain/xray/xray-usage.service.js';
import { XrayUsersService } from '../../src/domain/xray/xray-users.service.js';
import { XrayEngine } from '../../src/domain/xray/xray.engine.js';
import { Clock } from '../../src/platform/clock/clock.js';
import { type Application, startApplication } from '../support/application.js';
import { mustRun, runCommand } from '../support/command.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { freePort, ProxyClient, startByteServer } from '../support/proxy-client.js';
import { runFact } from '../support/run.js';
import { eventually } from '../support/wait.js';

const program = process.env['XRAY_BIN'] ?? 'v2ray';
const secretKey = 'k'.repeat(32);
/** Not in a private range, so that it stands for a public address of this host. */
const publicAddress = `198.18.${process.pid % 100}.${1 + Math.floor(Math.random() * 250)}`;
const ANN = 'Ann@Example.com';
const KILOBYTES_300 = 300_000;
/** Leaves the connection open. */
const REQUEST = 'GET /1000 HTTP/1.1\r\nHost: test\r\n\r\n';

let files: Server;
let filesPort: number;
let database: TestDatabase;
let app: Application;
let dataDir: string;
let port: number;
let clients: ProxyClient[];

beforeAll(async () => {
  await mustRun(['ip', 'address', 'add', `${publicAddress}/32`, 'dev', 'lo']);
  ({ server: files, port: filesPort } = await startByteServer('0.0.0.0'));
});

afterAll(async () => {
  files.closeAllConnections();
  files.close();
  await runCommand(['ip', 'address', 'del', `${publicAddress}/32`, 'dev', 'lo']);
});

beforeEach(async () => {
  clients = [];
  database = await createDatabase();
  dataDir = await mkdtemp(join(runFact('CAUSEWAY_TEST_FOLDER'), 'xray-'));
  app = await start();
  port = await freePort();
});

afterEach(async () => {
  for (const client of clients) await client.stop();
  // With XRAY=off there is none to stop.
  await app
    .get(ProxyEnginePort)
    .stop()
    .catch(() => undefined);
  await app.close();
  await database.drop();
  await rm(dataDir, { recursive: true, force: true });
});

const start = (env: Record<string, string> = { XRAY_BIN: program }) =>
  startApplication(database.url, { secretKey, dataDir, env });
const users = () => app.get(XrayUsersService);
const poll = () => app.get(EnginesService).whileOwner('xray', () => app.get(XrayEngine).poll());
const collect = () => app.get(XrayCollectorService).run(true);

/** An inbound on a free port. */
const listen = () =>
  app.get(XraySettingsService).update({
    xray: { serverHost: '127.0.0.1', serverPort: port, security: 'none', flow: '', sni: '' },
  });

/** A client that knows nothing but the link. */
async function clientOf(link: string): Promise<ProxyClient> {
  const url = new URL(link);
  const vnext = [
    {
      address: url.hostname,
      port: Number(url.port),
      users: [{ id: url.username, encryption: url.searchParams.get('encryption') }],
    },
  ];
  const client = await ProxyClient.start(program, {
    protocol: url.protocol.slice(0, -1),
    settings: { vnext },
    streamSettings: { network: url.searchParams.get('type'), security: url.searchParams.get('security') },
  });
  clients.push(client);
  return client;
}

const download = (client: ProxyClient, bytes: number) => client.download(publicAddress, filesPort, bytes, 3_000);

test('nothing listens before there is a user, and the engine part is up', async () => {
  await app.get(EnginesService).whenStarted('xray');
  expect(await app.get(EnginesService).healthOf('xray')).toMatchObject({ state: 'up' });
  expect(await app.get(ProxyEnginePort).status()).toMatchObject({ state: 'stopped' });
  expect(await users().list()).toEqual([]);
  expect(await app.get(XrayLiveService).now()).toMatchObject({ users: [], measuredAt: null });
});

test('what a user of the link downloads appears in stats, live, usage and the series, and survives restarts', async () => {
  await listen();
  const ann = await users().create({ email: ANN, alias: 'Ann' });
  expect(ann).toMatchObject({ email: ANN, alias: 'Ann', active: true, enabled: true, downBytes: '0', online: false });
  const { link } = await users().link({ email: ANN.toLowerCase() });
  const client = await clientOf(link);
  expect(await download(client, KILOBYTES_300)).toBe(KILOBYTES_300);

  const seen = await eventually(async () => {
    await collect();
    const user = await users().get({ uuid: ann.uuid });
    return Number(user.downBytes) > KILOBYTES_300 && user.conns === 1 && user;
  });
  expect(Number(seen.downBytes)).toBeLessThan(KILOBYTES_300 * 1.1);
  expect(seen).toMatchObject({ online: true, daysUsed: 1 });
  expect(seen.firstSeenAt).toBeInstanceOf(Date);
  expect(seen.lastSeenAt).toBeInstanceOf(Date);

  const total = Number(seen.upBytes) + Number(seen.downBytes);
  const now = await app.get(XrayLiveService).now();
  expect(now).toMatchObject({ conns: 1, trafficBytes: total, users: [{ email: ANN, conns: 1, ips: ['127.0.0.1'] }] });
  const traffic = await app.get(XrayLiveService).series('traffic', 3600, 60);
  expect(traffic).toHaveLength(60);
  expect(traffic.reduce((sum, point) => sum + point.value, 0)).toBe(total);
  const online = await app.get(XrayLiveService).series('online_users', 600, 60);
  expect(Math.max(...online.map((point) => point.value))).toBe(1);
  expect(await app.get(XrayLiveService).top('traffic', 3600, 10)).toEqual([
    { email: ANN, alias: 'Ann', value: total, sharePercent: 100 },
  ]);
  expect(await app.get(XrayLiveService).top('conns', 86_400, 10)).toMatchObject([{ email: ANN, value: 1 }]);

  const dashboard = await app.get(XrayUsageService).dashboard(7);
  expect(dashboard.days).toHaveLength(7);
  expect(dashboard.global.dailyTrafficBytes).toEqual([0, 0, 0, 0, 0, 0, total]);
  expect(dashboard.global.cumulativeConns.at(-1)).toBe(1);
  expect(dashboard.global.topDomainsConns).toEqual([{ domain: publicAddress, value: 1 }]);
  expect(dashboard.global.topDomainsTraffic).toEqual([{ domain: publicAddress, value: total }]);
  expect(dashboard.users).toMatchObject([
    { email: ANN, sum7TrafficBytes: total, sumPrev7TrafficBytes: 0, anomaly: false },
  ]);
  const today = dashboard.days.at(-1) ?? '';
  expect(await app.get(XrayUsageService).dates()).toEqual([today]);
  expect((await app.get(XrayUsageService).dashboardOf(today, ANN)).global.dailyTrafficBytes).toEqual([total]);
  expect(await app.get(XrayCollectorService).status()).toMatchObject({ lagDays: 0, newestDate: today });

  // The engine is started anew: its counters begin at zero, the books do not.
  await app.get(XrayEngineService).restart();
  expect(await eventually(() => download(client, 1_000))).toBe(1_000);
  await eventually(async () => {
    await collect();
    return Number((await users().get({ email: ANN })).downBytes) > Number(seen.downBytes) + 1_000;
  });
  const after = await users().get({ email: ANN });
  expect(Number(after.downBytes)).toBeLessThan(Number(seen.downBytes) + 10_000);

  // So is this server: the engine goes on, and nothing is counted twice.
  const { pid } = await app.get(ProxyEnginePort).status();
  await app.close();
  app = await start();
  await collect();
  expect((await app.get(ProxyEnginePort).status()).pid).toBe(pid);
  expect((await users().get({ email: ANN })).downBytes).toBe(after.downBytes);
});

test('after a kick the old link fails, the new one works, and both count for the user', async () => {
  await listen();
  const ann = await users().create({ email: ANN });
  const old = await clientOf((await users().link({ email: ANN })).link);
  expect(await download(old, 1_000)).toBe(1_000);
  const pid = (await app.get(ProxyEnginePort).status()).pid;
  const { uuid } = await users().kick({ uuid: ann.uuid });
  expect(uuid).not.toBe(ann.uuid);
  expect(await download(old, 1_000)).toBe(0);
  const fresh = await clientOf((await users().link({ uuid })).link);
  expect(await download(fresh, 2_000)).toBe(2_000);
  expect((await app.get(ProxyEnginePort).status()).pid).toBe(pid);
  await expect(users().get({ uuid: ann.uuid })).rejects.toMatchObject({ code: 'xray_user_not_found' });
  await eventually(async () => {
    await collect();
    return Number((await users().get({ uuid })).downBytes) >= 3_000;
  });
});

test('a kick cuts established connections where the host can do that', async () => {
  await listen();
  await users().create({ email: ANN });
  const client = await clientOf((await users().link({ email: ANN })).link);
  const socket = await client.connect(publicAddress, filesPort);
  const first = once(socket, 'data');
  socket.write(REQUEST);
  await first;
  await users().kick({ email: ANN });
  // Only the kernel's say closes it: the engine itself keeps it.
  const cuts = await app.get(ProxyEnginePort).cutOff(['192.0.2.1']);
  if (cuts) await eventually(() => socket.closed);
  expect(socket.closed).toBe(cuts);
  socket.destroy();
});

test('what still moves after the grace time ends by a restart, where a setting allows it', async () => {
  await listen();
  await app.get(XraySettingsService).update({ xray: { restartToCut: true } });
  await users().create({ email: ANN });
  const client = await clientOf((await users().link({ email: ANN })).link);
  const engine = app.get(ProxyEnginePort);
  engine.cutOff = () => Promise.resolve(false);
  const clock = app.get(Clock);
  const realMs = clock.monotonicMs.bind(clock);
  let ahead = 0;
  clock.monotonicMs = () => realMs() + ahead;
  const socket = await client.connect(publicAddress, filesPort);
  const ask = async () => {
    const answer = once(socket, 'data');
    socket.write(REQUEST);
    await answer;
  };
  await ask();
  const { pid } = await engine.status();
  await users().kick({ email: ANN });
  await poll();
  await ask();
  await poll();
  expect((await engine.status()).pid).toBe(pid);
  ahead = 31_000;
  await ask();
  await eventually(async () => {
    await poll();
    return (await engine.status()).pid !== pid;
  });
  await eventually(() => socket.closed);
  const { items } = await app.get(EventsService).list({ type: 'XRAY', limit: 10, offset: 0 });
  expect(items).toMatchObject([{ action: 'connections_left_over', severity: 'WARN', target: ANN }]);
});

test('an engine that was killed comes back with its users, and what it had counted stays', async () => {
  await listen();
  await users().create({ email: ANN });
  const client = await clientOf((await users().link({ email: ANN })).link);
  expect(await download(client, 50_000)).toBe(50_000);
  await eventually(async () => {
    await collect();
    return Number((await users().get({ email: ANN })).downBytes) > 50_000;
  });
  const before = Number((await users().get({ email: ANN })).downBytes);
  process.kill((await app.get(ProxyEnginePort).status()).pid ?? 0, 'SIGKILL');
  expect(await eventually(async () => (await poll(), (await download(client, 1_000)) || null))).toBe(1_000);
  await eventually(async () => {
    await collect();
    return Number((await users().get({ email: ANN })).downBytes) > before + 1_000;
  });
  expect(Number((await users().get({ email: ANN })).downBytes)).toBeLessThan(before + 10_000);
});

test('a log that is gone is told, and the engine goes on', async () => {
  await listen();
  await users().create({ email: ANN });
  const client = await clientOf((await users().link({ email: ANN })).link);
  await rm(join(dataDir, 'xray', 'access.log'));
  await mkdir(join(dataDir, 'xray', 'access.log'));
  await collect();
  expect((await app.get(EnginesService).healthOf('xray')).message).toContain('access log cannot be read');
  expect(await download(client, 1_000)).toBe(1_000);
  await rm(join(dataDir, 'xray', 'access.log'), { recursive: true });
  await app.get(XrayEngineService).restart();
  await collect();
  expect((await app.get(EnginesService).healthOf('xray')).message).not.toContain('access log');
});

test('a removed user is cut off, its email is free again, and its traffic stays in the sum', async () => {
  await listen();
  await users().create({ email: ANN });
  const client = await clientOf((await users().link({ email: ANN })).link);
  expect(await download(client, 50_000)).toBe(50_000);
  await users().remove({ email: ANN });
  expect(await download(client, 1_000)).toBe(0);
  await expect(users().remove({ email: ANN })).rejects.toMatchObject({ kind: 'not_found' });
  expect(await users().list()).toEqual([]);
  const again = await users().create({ email: ANN.toUpperCase() });
  expect(again.downBytes).toBe('0');
  await eventually(async () => {
    await collect();
    return (await app.get(XrayUsageService).dashboard(1)).global.dailyTrafficBytes[0]! > 50_000;
  });
});

test('who used up the quota is cut off, and comes back when it is raised; so for the date', async () => {
  await listen();
  await users().create({ email: ANN, trafficLimitBytes: '10000' });
  const client = await clientOf((await users().link({ email: ANN })).link);
  expect(await download(client, 20_000)).toBe(20_000);
  await eventually(async () => {
    await collect();
    return (await users().get({ email: ANN })).endedReason === 'limited';
  });
  expect(await download(client, 1_000)).toBe(0);
  expect(await users().update({ email: ANN }, { enabled: true })).toMatchObject({ active: false });
  expect(await users().update({ email: ANN }, { trafficLimitBytes: '1000000' })).toMatchObject({ active: true });
  expect(await download(client, 1_000)).toBe(1_000);
  const past = new Date(Date.now() - 1_000);
  expect(await users().update({ email: ANN }, { expiresAt: past })).toMatchObject({ endedReason: 'expired' });
  expect(await download(client, 1_000)).toBe(0);
  expect(await users().update({ email: ANN }, { expiresAt: null })).toMatchObject({ active: true });
  expect(await download(client, 1_000)).toBe(1_000);
});

test('twins, bad emails and unknown users change nothing', async () => {
  await listen();
  const results = await Promise.allSettled(
    [ANN, ANN.toLowerCase(), ANN.toUpperCase()].map((email) => users().create({ email })),
  );
  expect(results.filter((result) => result.status === 'fulfilled')).toHaveLength(1);
  expect(results.find((result) => result.status === 'rejected')).toMatchObject({
    reason: { code: 'xray_user_exists' },
  });
  for (const email of ['a b@c', 'a>>>@b', 'a@b\n', `${'a'.repeat(300)}@b`]) {
    await expect(users().create({ email })).rejects.toMatchObject({ code: 'xray_email_invalid' });
  }
  for (const ref of [{ email: 'no@body' }, { uuid: 'not-a-uuid' }, { uuid: '0b7cf0f6-0c3c-4f0f-9a56-1f6a3cf0a111' }]) {
    await expect(users().kick(ref)).rejects.toMatchObject({ code: 'xray_user_not_found' });
  }
  await expect(users().get({})).rejects.toMatchObject({ code: 'xray_user_unnamed' });
  expect(await users().count()).toBe(1);
});

test('a setting that cannot be is refused with the reason, and what served before goes on', async () => {
  await listen();
  await users().create({ email: ANN });
  const client = await clientOf((await users().link({ email: ANN })).link);
  const taken = createServer().listen(0, '0.0.0.0');
  await once(taken, 'listening');
  const takenPort = (taken.address() as { port: number }).port;
  const settings = app.get(XraySettingsService);
  const before = await settings.read();
  try {
    await expect(settings.update({ ui: { theme: 'x' }, xray: { serverPort: takenPort } })).rejects.toMatchObject({
      code: 'engine_refused',
    });
    if (program === 'v2ray') {
      const reality = { security: 'reality', sni: 'site.test', dest: 'site.test:443' } as const;
      await expect(settings.update({ xray: reality })).rejects.toMatchObject({
        code: 'engine_refused',
        message: expect.stringContaining('cannot do security reality') as string,
      });
    }
    await expect(settings.update({ xray: { network: 'ws', path: '/a b' } })).rejects.toMatchObject({
      code: 'xray_setting_invalid',
    });
  } finally {
    taken.close();
  }
  expect(await settings.read()).toEqual(before);
  expect(await eventually(async () => (await download(client, 1_000)) || null)).toBe(1_000);

  await settings.update({ ui: { a: { b: 1 } }, xray: { network: 'ws', path: '/way' } });
  await settings.update({ ui: { a: { c: 2 } } });
  expect((await settings.read()).ui).toEqual({ a: { b: 1, c: 2 } });
  expect(await download(client, 1_000)).toBe(0);
  expect((await users().link({ email: ANN })).link).toContain('type=ws&security=none&path=%2Fway#');
});

test('while the collector is off nothing is counted, and it stays off over a restart', async () => {
  await listen();
  const collector = app.get(XrayCollectorService);
  await collector.setEnabled(false, 'xray_daily_usage.sh; rm -rf /');
  await app.close();
  app = await start();
  expect(await app.get(XrayCollectorService).status()).toMatchObject({
    enabled: false,
    script: 'xray_daily_usage.sh; rm -rf /',
  });
  const { items } = await app.get(EventsService).list({ type: 'COLLECTOR', limit: 10, offset: 0 });
  expect(items).toHaveLength(1);
  expect(await app.get(EventsService).statistics({ service: 'xray' })).toMatchObject({
    byType: { COLLECTOR: 1, SETTINGS: 1 },
  });
});

test('with XRAY=off the engine is absent and users cannot be made', async () => {
  await app.close();
  app = await start({ XRAY: 'off' });
  await app.get(EnginesService).whenStarted('xray');
  expect(await app.get(EnginesService).healthOf('xray')).toMatchObject({ state: 'absent' });
  await expect(users().create({ email: ANN })).rejects.toMatchObject({ code: 'engine_unavailable' });
  await expect(listen()).rejects.toMatchObject({ code: 'engine_unavailable' });
  await expect(app.get(XrayCollectorService).run(false)).rejects.toMatchObject({ code: 'engine_unavailable' });
  expect(await users().list()).toEqual([]);
});
