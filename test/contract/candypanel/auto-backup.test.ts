import { readdir, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Panel } from './panel.js';

let panel: Panel;

// The server's own polls are far apart: what is made here is made by requests.
beforeAll(async () => {
  panel = await Panel.start({ env: { SYNC_INTERVAL: '3600' } });
});
afterAll(() => panel?.server.cleanup());

const folder = (): string => join(panel.server.dataDir, 'backups');
const files = (): Promise<string[]> => readdir(folder()).catch(() => []);
const sync = async (): Promise<number> => (await panel.call('POST', '/sync')).status;
const autoBackup = (value: string) => panel.call('PUT', '/settings/auto_backup', { value });

it('sync makes no backup while auto_backup is off', async () => {
  expect((await autoBackup('0')).status).toBe(200);
  // The poll that comes with the start may have made one already; sync waits for it.
  expect(await sync()).toBe(200);
  for (const name of await files()) await rm(join(folder(), name));
  await panel.server.restart();
  expect(await sync()).toBe(200);
  expect(await files()).toEqual([]);
});

it('sync makes one backup a day while it is on, which is there when sync answers', async () => {
  expect((await autoBackup('1')).status).toBe(200);
  await panel.create('anna');
  expect(await sync()).toBe(200);
  const [name, ...more] = await files();
  expect(more).toEqual([]);
  expect(name).toMatch(/^\d{8}T\d{9}Z-config\.cwb$/);
  const file = await stat(join(folder(), name!));
  expect([file.mode & 0o777, (await stat(folder())).mode & 0o777]).toEqual([0o600, 0o700]);
  expect((await readFile(join(folder(), name!), 'latin1')).includes('anna')).toBe(false);

  expect(await sync()).toBe(200);
  await Promise.all([sync(), sync(), sync()]);
  await panel.server.restart();
  await panel.login();
  expect(await sync()).toBe(200);
  expect(await files()).toEqual([name]);
});
