import { Client } from 'pg';
import { DataSource } from 'typeorm';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { dataSourceOptions } from '../../src/database/data-source.js';
import type { EnginesService } from '../../src/domain/engines/engines.service.js';
import { UndoService } from '../../src/domain/engines/undo.service.js';
import { EventsService } from '../../src/domain/events/events.service.js';
import { refillAddressPool } from '../../src/domain/interfaces/address-pool.js';
import { InterfacesService } from '../../src/domain/interfaces/interfaces.service.js';
import { WireguardInterface } from '../../src/domain/interfaces/wireguard-interface.entity.js';
import type { SettingsService } from '../../src/domain/settings/settings.service.js';
import { TunnelRowsService } from '../../src/domain/tunnels/tunnel-rows.service.js';
import { UsageService } from '../../src/domain/usage/usage.service.js';
import { SecretBox } from '../../src/platform/crypto/secret-box.js';
import { testSecretKey } from '../support/accounts.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { silentLog } from '../support/silent-log.js';
import { TestClock } from '../support/test-clock.js';
import { eventually } from '../support/wait.js';

describe('the pool of free addresses', () => {
  let database: TestDatabase;
  let source: DataSource;
  let other: Client;
  let interfaces: InterfacesService;
  let rows: TunnelRowsService;
  let id: number;

  beforeEach(async () => {
    database = await createDatabase();
    source = await new DataSource(dataSourceOptions(database.url, { poolSize: 5 })).initialize();
    other = new Client({ connectionString: database.url });
    await other.connect();
    const clock = new TestClock();
    const secretBox = new SecretBox(testSecretKey);
    const events = new EventsService(source, clock, silentLog());
    const engines = {
      assertUp: () => Promise.resolve(),
      assertDriven: () => Promise.resolve(),
      apply: () => Promise.resolve(),
    };
    const repository = source.getRepository(WireguardInterface);
    const undo = new UndoService(silentLog());
    const engine = engines as unknown as EnginesService;
    interfaces = new InterfacesService(source, repository, engine, undo, events, secretBox);
    const settings = undefined as unknown as SettingsService;
    rows = new TunnelRowsService(source, secretBox, settings, new UsageService(source), events, clock);
    id = (await interfaces.create({ number: 0, address: '10.0.0.1/24', listenPort: 51_820 })).id;
  });

  afterEach(async () => {
    await other?.end();
    await source?.destroy();
    await database?.drop();
  });

  const addresses = async () => {
    const found = await source.query<{ address: string }[]>('SELECT host(address) AS address FROM free_addresses');
    return found.map(({ address }) => address);
  };
  const addClient = async (on: { query(sql: string, values: unknown[]): Promise<unknown> }, address: string) => {
    const key = address.padEnd(44, '=');
    const sql = `INSERT INTO clients (interface_id, name, address, public_key, private_key, preshared_key)
                 VALUES ($1, $2::text, $2::inet, $3, '', '') RETURNING id`;
    return on.query(sql, [id, address, key]);
  };
  const someoneWaits = () =>
    eventually(async () => {
      const sql = `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`;
      return (await source.query<unknown[]>(sql)).length > 0;
    });

  it('is filled again while another creation is taking the last address of it', async () => {
    await source.query(`INSERT INTO free_addresses VALUES ($1, '10.0.0.2')`, [id]);
    await source.query('UPDATE wireguard_interfaces SET next_host = 3 WHERE id = $1', [id]);
    await other.query('BEGIN');
    await other.query('DELETE FROM free_addresses');
    expect(await refillAddressPool(source.manager, id)).toBe(true);
    expect(await addresses()).toContain('10.0.0.3');
    await other.query('COMMIT');
  });

  it('is not used up while the creation that is taking the last address may still fail', async () => {
    await source.query("UPDATE wireguard_interfaces SET address = '10.0.0.1/30', range = '10.0.0.0/30'");
    await refillAddressPool(source.manager, id);
    expect(await addresses()).toEqual(['10.0.0.2']);
    await other.query('BEGIN');
    await other.query('DELETE FROM free_addresses');
    const asked = refillAddressPool(source.manager, id);
    await eventually(async () => {
      const sql = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
      return (await source.query<unknown[]>(sql)).length === 1;
    });
    await other.query('ROLLBACK');
    expect(await asked).toBe(true);

    await other.query('BEGIN');
    await other.query('DELETE FROM free_addresses');
    const again = refillAddressPool(source.manager, id);
    await other.query('COMMIT');
    expect(await again).toBe(false);
  });

  it('gives no address of an old range to a client: the range waits for who has taken one already', async () => {
    await refillAddressPool(source.manager, id);
    await other.query('BEGIN');
    await other.query(`DELETE FROM free_addresses WHERE address = '10.0.0.2'`);
    const moved = interfaces.update(0, { address: '10.9.0.1/24' });
    moved.catch(() => undefined);
    await someoneWaits();
    await addClient(other, '10.0.0.2');
    await other.query('COMMIT');
    await expect(moved).rejects.toMatchObject({ code: 'interface_range_leaves_clients' });
    expect(await addresses()).toContain('10.0.0.3');
  });

  it('takes back no address that lies outside of a range that is just being changed', async () => {
    const [client] = (await addClient(source, '10.0.0.2')) as { id: string }[];
    await source.query('UPDATE clients SET removed_at = now()');
    await source.query('UPDATE wireguard_interfaces SET next_host = 3');
    await other.query('BEGIN');
    await other.query(`UPDATE wireguard_interfaces SET address = '10.9.0.1/24', range = '10.9.0.0/24', next_host = 1`);
    const finished = rows.finishRemovals([client!.id]);
    await someoneWaits();
    await other.query('COMMIT');
    await finished;
    expect(await addresses()).toEqual([]);
  });
});
