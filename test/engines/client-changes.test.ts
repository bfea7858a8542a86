import { DataSource } from 'typeorm';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { dataSourceOptions } from '../../src/database/data-source.js';
import { ClientsService } from '../../src/domain/clients/clients.service.js';
import { engineUnavailable } from '../../src/domain/engines/engines.errors.js';
import type { EnginesService } from '../../src/domain/engines/engines.service.js';
import { UndoService } from '../../src/domain/engines/undo.service.js';
import { EventsService } from '../../src/domain/events/events.service.js';
import type { SettingsService } from '../../src/domain/settings/settings.service.js';
import { SecretBox } from '../../src/platform/crypto/secret-box.js';
import { testSecretKey } from '../support/accounts.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { silentLog } from '../support/silent-log.js';
import { TestClock } from '../support/test-clock.js';

/** The engine is one that does what the test says: what counts here is what the rows say after it failed. */
describe('a change that the engine does not follow', () => {
  let database: TestDatabase;
  let source: DataSource;
  let clients: ClientsService;
  const clock = new TestClock();
  const engine = {
    assertUp: () => Promise.resolve(),
    apply: vi.fn<() => Promise<void>>(),
    applySoon: vi.fn<() => void>(),
  };
  const settings = { getAll: vi.fn<() => Promise<unknown>>(), endpointHost: () => Promise.resolve('vpn.example.org') };
  const alice = { name: 'alice' };
  const unavailable = engineUnavailable('wireguard', 'it does not answer');

  beforeAll(async () => {
    database = await createDatabase();
    source = await new DataSource(dataSourceOptions(database.url, { poolSize: 5 })).initialize();
    const events = new EventsService(source, clock, silentLog());
    const box = new SecretBox(testSecretKey);
    const engines = engine as unknown as EnginesService;
    const values = settings as unknown as SettingsService;
    clients = new ClientsService(source, engines, new UndoService(silentLog()), events, values, box, clock);
    await source.query(
      `INSERT INTO wireguard_interfaces (number, address, range, listen_port, private_key, public_key)
       VALUES (0, '10.0.0.1/24', '10.0.0.0/24', 51820, '', 'key')`,
    );
  });

  afterAll(async () => {
    await source?.destroy();
    await database?.drop();
  });

  const create = (name: string) =>
    clients.create({ name, interfaceNumber: 0, expiresAt: null, trafficLimitBytes: '0', note: '' });
  const lastEvent = async () => {
    const sql = 'SELECT action, details FROM events ORDER BY id DESC LIMIT 1';
    return (await source.query<{ action: string; details: Record<string, unknown> }[]>(sql))[0];
  };

  beforeEach(async () => {
    engine.apply.mockReset().mockResolvedValue(undefined);
    settings.getAll.mockReset().mockResolvedValue({ dns: [], mtu: 1420, allowed_ips: [], persistent_keepalive: 0 });
    await source.query('DELETE FROM clients');
    await create('alice');
  });

  it('is taken back field by field: what somebody changed since is left alone', async () => {
    await clients.update(alice, { enabled: false, trafficLimitBytes: '1000', note: 'old' });
    engine.apply.mockImplementationOnce(async () => {
      await clients.update(alice, { note: 'newer' });
      throw unavailable;
    });
    const expiresAt = new Date(clock.nowMs() + 60_000);
    const tried = clients.update(alice, { enabled: true, trafficLimitBytes: '2000', expiresAt, note: 'new' });
    await expect(tried).rejects.toBe(unavailable);
    const now = await clients.get(alice);
    expect(now).toMatchObject({ active: false, trafficLimitBytes: '1000', expiresAt: null, note: 'newer' });
    expect(await lastEvent()).toEqual({
      action: 'client_update_failed',
      details: { after: { enabled: false, trafficLimitBytes: '1000', expiresAt: null } },
    });
  });

  it('stays wanted when it is a cut-off, and whoever repeats it hears how it stands', async () => {
    engine.apply.mockRejectedValue(unavailable);
    for (let times = 0; times < 2; times += 1) {
      await expect(clients.update(alice, { enabled: false })).rejects.toBe(unavailable);
      expect((await clients.get(alice)).active).toBe(false);
    }
    engine.apply.mockReset().mockResolvedValue(undefined);
    await clients.update(alice, { enabled: false });
    expect(engine.apply).toHaveBeenCalledTimes(1);
  });

  it('leaves no client behind when its file could not be made', async () => {
    settings.getAll.mockRejectedValueOnce(new Error('the database is away'));
    await expect(create('bob')).rejects.toThrow('the database is away');
    expect((await clients.list()).map(({ name }) => name)).toEqual(['alice']);
  });

  it('is remembered with what stood there before', async () => {
    await clients.update(alice, { trafficLimitBytes: '5' });
    expect(await lastEvent()).toEqual({
      action: 'client_updated',
      details: { before: { trafficLimitBytes: '0', active: true }, after: { trafficLimitBytes: '5', active: true } },
    });
  });
});
