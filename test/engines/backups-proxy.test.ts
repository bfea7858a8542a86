import { mkdtemp, rm } from 'node:fs/promises';
import type { Server } from 'node:http';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { DataSource } from 'typeorm';
import { BackupsService } from '../../src/domain/backups/backups.service.js';
import { SettingsService } from '../../src/domain/settings/settings.service.js';
import { UsageService } from '../../src/domain/usage/usage.service.js';
import { ProxyEnginePort } from '../../src/domain/xray/proxy-engine.port.js';
import { XrayCollectorService } from '../../src/domain/xray/xray-collector.service.js';
import { XrayInboundsService } from '../../src/domain/xray/xray-inbounds.service.js';
import { XraySettingsService } from '../../src/domain/xray/xray-settings.service.js';
import { XrayUsersService } from '../../src/domain/xray/xray-users.service.js';
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
const publicAddress = `198.19.${process.pid % 100}.${1 + Math.floor(Math.random() * 250)}`;
const ANN = 'Ann@Example.com';
const BEN = 'ben@example.com';

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

const start = async (env: Record<string, string> = { XRAY_BIN: program }) => {
  app = await startApplication(database.url, { secretKey, env, dataDir });
  await app.get(SettingsService).set('auto_backup', '0');
};

const stop = async () => {
  // With XRAY=off there is none to stop.
  await app
    .get(ProxyEnginePort)
    .stop()
    .catch(() => undefined);
  await app.close();
};

beforeEach(async () => {
  clients = [];
  dataDir = await mkdtemp(join(runFact('CAUSEWAY_TEST_FOLDER'), 'data-'));
  database = await createDatabase();
  port = await freePort();
  await start();
});

afterEach(async () => {
  for (const client of clients) await client.stop();
  await stop();
  await database.drop();
  await rm(dataDir, { recursive: true, force: true });
});

const backups = () => app.get(BackupsService);
const users = () => app.get(XrayUsersService);
const inbound = () => app.get(XrayInboundsService).find();
const sql = <Row>(text: string, values: unknown[] = []) => app.get(DataSource).query<Row[]>(text, values);
const restore = (filename: string, parts?: string[]) => backups().restore(filename, { preview: false, parts });
const collect = () => app.get(XrayCollectorService).run(true);

const listen = (serverPort = port) =>
  app.get(XraySettingsService).update({
    xray: { serverHost: '127.0.0.1', serverPort, security: 'none', flow: '', sni: '' },
  });

/** A client that knows nothing but the link of now. */
async function clientOf(email: string): Promise<ProxyClient> {
  const url = new URL((await users().link({ email })).link);
  const client = await ProxyClient.start(program, {
    protocol: 'vless',
    settings: {
      vnext: [{ address: url.hostname, port: Number(url.port), users: [{ id: url.username, encryption: 'none' }] }],
    },
    streamSettings: { network: 'tcp', security: 'none' },
  });
  clients.push(client);
  return client;
}

const download = (client: ProxyClient, bytes: number) => client.download(publicAddress, filesPort, bytes, 3_000);

test('users and inbound are in the preview, and come back with everything that makes them', async () => {
  await listen();
  const expiresAt = new Date('2099-01-01T00:00:00Z');
  const ann = await users().create({ email: ANN, alias: 'Ann', trafficLimitBytes: '9000000', expiresAt });
  await users().create({ email: BEN, enabled: false });
  await app.get(XraySettingsService).update({ ui: { theme: 'dark' }, collector: { script: 'a' } });
  const was = { inbound: await inbound(), keys: await sql('SELECT reality_private_key FROM xray_inbounds') };
  const { filename } = await backups().create();
  expect((await backups().preview(filename)).parts).toMatchObject({
    users: {
      count: 2,
      items: [
        { kind: 'xray_user', name: ANN },
        { kind: 'xray_user', name: BEN },
      ],
    },
    inbounds: { count: 1, items: [{ kind: 'inbound', name: 'vless-in' }] },
  });
  const client = await clientOf(ANN);
  expect(await download(client, 1_000)).toBe(1_000);

  const { uuid } = await users().kick({ email: ANN });
  const kicked = await clientOf(ANN);
  expect([await download(client, 1_000), await download(kicked, 1_000)]).toEqual([0, 1_000]);
  await users().update({ email: ANN }, { alias: '', trafficLimitBytes: '0', expiresAt: null });
  await users().remove({ email: BEN });
  const other = await users().create({ email: BEN.toUpperCase() });
  await users().create({ email: 'new@example.com' });
  const newcomer = await clientOf('new@example.com');
  await listen(await freePort());
  await app.get(XraySettingsService).update({ ui: { theme: 'light' }, collector: { enabled: false, script: 'b' } });

  const { safetyFilename } = await restore(filename);
  expect(await users().list()).toMatchObject([
    { id: ann.id, email: ANN, uuid: ann.uuid, alias: 'Ann', trafficLimitBytes: '9000000', expiresAt, active: true },
    { email: BEN, enabled: false },
  ]);
  expect({ inbound: await inbound(), keys: await sql('SELECT reality_private_key FROM xray_inbounds') }).toEqual(was);
  expect(await app.get(XraySettingsService).read()).toMatchObject({
    ui: { theme: 'dark' },
    collector: { enabled: true, script: 'a' },
  });
  // The old link works again; those of the time between do not.
  expect(await eventually(() => download(client, 1_000))).toBe(1_000);
  expect([await download(kicked, 1_000), await download(newcomer, 1_000)]).toEqual([0, 0]);
  // Who came since leaves as by hand.
  expect(await sql('SELECT 1 FROM xray_users WHERE removed_at IS NOT NULL AND id = $1', [other.id])).toHaveLength(1);

  await restore(safetyFilename!);
  const after = await users().list();
  expect(after.map(({ email }) => email).sort()).toEqual(['new@example.com', BEN.toUpperCase(), ANN].sort());
  expect(await users().get({ email: ANN })).toMatchObject({ id: ann.id, uuid, alias: '', expiresAt: null });
  expect(await download(await clientOf('new@example.com'), 1_000)).toBe(1_000);
});

test('what a deleted user had used is neither given back nor counted twice when it is restored', async () => {
  await listen();
  const ann = await users().create({ email: ANN });
  expect(await download(await clientOf(ANN), 50_000)).toBe(50_000);
  const used = async () => {
    await collect();
    return Number((await users().get({ email: ANN })).downBytes);
  };
  const before = await eventually(async () => {
    const bytes = await used();
    return bytes > 50_000 && bytes;
  });
  await users().update({ email: ANN }, { trafficLimitBytes: '60000' });
  const { filename } = await backups().create();
  await users().remove({ email: ANN });
  // Polls are an hour apart, and the row goes after some of them.
  const clock = app.get(Clock);
  const monotonicMs = clock.monotonicMs.bind(clock);
  let aheadMs = 0;
  clock.monotonicMs = () => monotonicMs() + aheadMs;
  const books = () => sql('SELECT FROM usage_counters WHERE subject_id = $1', [ann.id]);
  await eventually(async () => {
    aheadMs += 3_601_000;
    return (await books()).length === 0;
  });

  const total = await app.get(UsageService).total('xray');
  await restore(filename, ['users']);
  expect([await used(), await app.get(UsageService).total('xray')]).toEqual([before, total]);
  expect(await users().get({ email: ANN })).toMatchObject({ uuid: ann.uuid, active: true, daysUsed: 1 });
  expect(await download(await clientOf(ANN), 20_000)).toBe(20_000);
  await eventually(async () => (await used()) > before + 20_000 || null);
  expect(await used()).toBeLessThan(before + 30_000);
  expect(await users().get({ email: ANN })).toMatchObject({ endedReason: 'limited' });
});

test('a uuid or email that somebody else has now goes back to whom it belonged', async () => {
  await listen();
  const ann = await users().create({ email: ANN });
  const ben = await users().create({ email: BEN });
  const { filename } = await backups().create();
  // No way of the product leads here; other installations and hands do.
  await sql('UPDATE xray_users SET email_key = id::text, uuid = gen_random_uuid()');
  await sql('UPDATE xray_users SET email_key = $2, uuid = $3 WHERE id = $1', [ann.id, BEN, ben.uuid]);
  await sql(`INSERT INTO xray_users (email, email_key, uuid) VALUES ('x@y', lower($1), $2)`, [ANN, ann.uuid]);
  await restore(filename);
  expect(await users().list()).toMatchObject([
    { id: ann.id, email: ANN, uuid: ann.uuid },
    { id: ben.id, email: BEN, uuid: ben.uuid },
  ]);
  expect(await download(await clientOf(ANN), 1_000)).toBe(1_000);
  expect(await download(await clientOf(BEN), 1_000)).toBe(1_000);
});

test('an inbound that the engine refuses is taken back, users too', async () => {
  await listen();
  await users().create({ email: ANN });
  const { filename } = await backups().create();
  await users().remove({ email: ANN });
  await users().create({ email: BEN });
  await listen(await freePort());
  const before = await inbound();
  const client = await clientOf(BEN);
  const taken = createServer().listen(port, '0.0.0.0');
  try {
    await expect(restore(filename)).rejects.toMatchObject({ code: 'engine_refused' });
  } finally {
    taken.close();
  }
  expect(await inbound()).toEqual(before);
  expect(await users().list()).toMatchObject([{ email: BEN, active: true }]);
  expect(await eventually(async () => (await download(client, 1_000)) || null)).toBe(1_000);
});

test('without an engine the rows come back, and a part that is not asked for stays', async () => {
  await listen();
  await users().create({ email: ANN });
  const { filename } = await backups().create();
  await stop();
  await start({ XRAY: 'off' });
  await sql('DELETE FROM xray_users');
  await sql('UPDATE xray_inbounds SET server_port = 1');
  await restore(filename, ['users']);
  expect(await users().list()).toMatchObject([{ email: ANN }]);
  expect(await inbound()).toMatchObject({ serverPort: 1 });
  await restore(filename, ['inbounds']);
  expect(await inbound()).toMatchObject({ serverPort: port });
});
