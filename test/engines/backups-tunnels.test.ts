import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { DataSource } from 'typeorm';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BackupsService } from '../../src/domain/backups/backups.service.js';
import { ClientsService } from '../../src/domain/clients/clients.service.js';
import { EnginesService } from '../../src/domain/engines/engines.service.js';
import { EventsService } from '../../src/domain/events/events.service.js';
import { InterfacesService } from '../../src/domain/interfaces/interfaces.service.js';
import { SettingsService } from '../../src/domain/settings/settings.service.js';
import { UsersService } from '../../src/domain/users/users.service.js';
import { type Application, startApplication } from '../support/application.js';
import { runCommand } from '../support/command.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { runFact } from '../support/run.js';
import { eventually } from '../support/wait.js';

// Other tests of the run have devices in the same network: these numbers, ranges and ports are for this file alone.
const [FIRST, SECOND, THIRD] = [7301, 7302, 7303];
const PORT = 45_310;
const secretKey = 's'.repeat(40);

let database: TestDatabase;
let app: Application;
let dataDir: string;

const start = async (env: Record<string, string> = { WIREGUARD: 'wireguard-go', WIREGUARD_NAT: 'off' }) => {
  app = await startApplication(database.url, { secretKey, env, dataDir });
  await app.get(EnginesService).whenStarted('wireguard');
};

/** Port and peers (those that traffic may come from, with the IPv4 address) of a device; null when there is none. */
async function device(number: number): Promise<{ port: number; peers: string[] } | null> {
  const { code, stdout } = await runCommand(['wg', 'show', `wg${number}`, 'dump']);
  if (code !== 0) return null;
  const [own, ...peers] = stdout
    .trim()
    .split('\n')
    .map((line) => line.split('\t'));
  return {
    port: Number(own![2]),
    peers: peers.filter((peer) => peer[3] !== '(none)').map((peer) => `${peer[0]} ${peer[3]!.split(',')[0]}`),
  };
}

const makeInterface = (number: number, listenPort: number, net: number) =>
  app.get(InterfacesService).create({ number, listenPort, address: `10.231.${net}.1/24` });

const makeClient = (name: string, interfaceNumber: number) =>
  app.get(ClientsService).create({ name, interfaceNumber, expiresAt: null, trafficLimitBytes: '0', note: '' });

const peerOf = async (name: string): Promise<string> => {
  const { publicKey, address } = await app.get(ClientsService).get({ name });
  return `${publicKey} ${address}/32`;
};

const restore = (filename: string) => app.get(BackupsService).restore(filename, { preview: false });

beforeEach(async () => {
  dataDir = await mkdtemp(join(runFact('CAUSEWAY_TEST_FOLDER'), 'data-'));
  database = await createDatabase();
  await start();
  await app.get(SettingsService).set('auto_backup', '0');
  await app.get(UsersService).create({ username: 'admin', password: 'correct horse', role: 'admin' });
});

afterEach(async () => {
  const rows = await app.get(DataSource).query<{ number: number }[]>('SELECT number FROM wireguard_interfaces');
  for (const { number } of rows) await app.get(InterfacesService).remove(number, true);
  await app.close();
  await database.drop();
  await rm(dataDir, { recursive: true, force: true });
  for (const number of [FIRST, SECOND, THIRD]) expect(await device(number)).toBeNull();
});

describe('a restore of tunnels', () => {
  it('makes devices and peers what they were, and takes away those that came since', async () => {
    await makeInterface(FIRST, PORT, 1);
    await makeInterface(SECOND, PORT + 1, 2);
    for (const name of ['ann', 'ben']) await makeClient(name, FIRST);
    await makeClient('cleo', SECOND);
    const peers = await Promise.all(['ann', 'ben', 'cleo'].map(peerOf));
    const { filename } = await app.get(BackupsService).create();

    await app.get(ClientsService).remove({ name: 'ann' });
    await app.get(InterfacesService).remove(SECOND, true);
    await app.get(InterfacesService).update(FIRST, { listenPort: PORT + 5 });
    await makeClient('new', FIRST);
    // Number and port have changed hands.
    await makeInterface(SECOND, PORT, 3);
    await makeInterface(THIRD, PORT + 1, 2);
    await makeClient('newer', THIRD);

    const { safetyFilename } = await restore(filename);
    const byName = (found: { peers: string[] } | null) => found && { ...found, peers: found.peers.sort() };
    expect(byName(await device(FIRST))).toEqual({ port: PORT, peers: peers.slice(0, 2).sort() });
    expect(await device(SECOND)).toEqual({ port: PORT + 1, peers: [peers[2]] });
    expect(await device(THIRD)).toBeNull();
    expect(await app.get(DataSource).query('SELECT 1 FROM retired_devices')).toEqual([]);
    // The next client gets an address that nobody has.
    expect((await makeClient('next', FIRST)).address).toBe('10.231.1.4');

    await restore(safetyFilename!);
    expect(await device(FIRST)).toEqual({
      port: PORT + 5,
      peers: expect.arrayContaining([await peerOf('new')]) as string[],
    });
    expect(await device(THIRD)).toEqual({ port: PORT + 1, peers: [await peerOf('newer')] });
  });

  it('that the engine refuses is taken back, on the devices too', async () => {
    await makeInterface(FIRST, PORT, 1);
    await makeClient('ann', FIRST);
    const { filename } = await app.get(BackupsService).create();
    await app.get(InterfacesService).update(FIRST, { listenPort: PORT + 5 });
    await app.get(ClientsService).remove({ name: 'ann' });
    await makeClient('new', FIRST);
    await eventually(async () => (await device(FIRST))?.peers.length === 1);
    const before = await device(FIRST);

    const taken = createSocket('udp4').bind(PORT, '127.0.0.1');
    await once(taken, 'listening');
    try {
      await expect(restore(filename)).rejects.toMatchObject({ kind: 'refused', code: 'engine_refused' });
    } finally {
      taken.close();
    }
    expect(await device(FIRST)).toEqual(before);
    expect((await app.get(ClientsService).list()).map(({ name }) => name)).toEqual(['new']);
    const { items } = await app.get(EventsService).list({ limit: 5, offset: 0, type: 'BACKUP' });
    expect(items[0]).toMatchObject({ action: 'backup_restore_undone', severity: 'ERROR' });
    await restore(filename);
    expect(await device(FIRST)).toEqual({ port: PORT, peers: [await peerOf('ann')] });
  });

  it('is finished by the next start, when the process died before the devices followed', async () => {
    await makeInterface(FIRST, PORT, 1);
    await makeClient('ann', FIRST);
    const ann = await peerOf('ann');
    const { filename } = await app.get(BackupsService).create();
    await makeInterface(SECOND, PORT + 1, 2);
    await app.get(ClientsService).remove({ name: 'ann' });
    await makeClient('new', SECOND);
    await app.close();
    expect(await device(SECOND)).not.toBeNull();

    // A process that drives no engine changes the rows alone.
    await start({ WIREGUARD: 'off' });
    await restore(filename);
    await app.close();
    expect(await device(SECOND)).not.toBeNull();

    await start();
    expect(await device(SECOND)).toBeNull();
    expect(await device(FIRST)).toEqual({ port: PORT, peers: [ann] });
  });

  it('needs an engine that is not down, and changes nothing without it', async () => {
    await makeInterface(FIRST, PORT, 1);
    const { filename } = await app.get(BackupsService).create();
    await makeClient('ann', FIRST);
    await app.close();
    await start({
      WIREGUARD: 'wireguard-go',
      WIREGUARD_NAT: 'off',
      ROLE: 'api',
      DATABASE_URL: database.url,
      SECRET_KEY: secretKey,
    });
    await app.get(DataSource).query(`UPDATE engine_status SET seen_at = now() - interval '1 minute', state = 'up'`);
    await eventually(async () => (await app.get(EnginesService).healthOf('wireguard')).state === 'down');
    await expect(restore(filename)).rejects.toMatchObject({ kind: 'unavailable', code: 'engine_unavailable' });
    expect(await app.get(ClientsService).count()).toBe(1);
    expect(await app.get(BackupsService).list()).toHaveLength(1);
    await app.close();
    await start();
  });
});
