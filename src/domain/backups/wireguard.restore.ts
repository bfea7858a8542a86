import type { EntityManager } from 'typeorm';
import type { UsageService } from '../usage/usage.service.js';
import { quoted } from './archive.body.js';
import type { RestoredTables } from './restored.tables.js';

/**
 * Makes interfaces and clients what the archive says, interfaces by their number and clients by their id. What each
 * client used stays counted, also of one that was deleted since. Needs `restored_people`. Devices that no row wants any
 * more are written down in `retired_devices`, for the engine to take away.
 */
export async function restoreWireguard(
  tx: EntityManager,
  tables: RestoredTables,
  usage: UsageService,
  now: Date,
): Promise<void> {
  await tx.query('DELETE FROM clients c WHERE NOT EXISTS (SELECT 1 FROM restored_clients r WHERE r.id = c.id)');
  await letGo(tx);
  await restoreInterfaces(tx, tables.get('wireguard_interfaces') ?? []);
  await restoreClients(tx, tables.get('clients') ?? []);
  await tx.query(
    `DELETE FROM wireguard_interfaces i
      WHERE NOT EXISTS (SELECT 1 FROM restored_wireguard_interfaces r WHERE r.number = i.number)`,
  );
  await tx.query(
    `DELETE FROM retired_devices d USING wireguard_interfaces i
      WHERE i.number = d.number AND i.public_key = d.public_key`,
  );
  const missing = await tx.query<{ id: string }[]>(
    'SELECT c.id FROM clients c WHERE NOT EXISTS (SELECT 1 FROM usage_counters u WHERE u.subject_id = c.id)',
  );
  await usage.revive(
    'wireguard',
    missing.map(({ id }) => id),
    tx,
  );
  await tx.query(
    `UPDATE clients c
        SET ended_reason = CASE WHEN c.expires_at <= $1::timestamptz THEN 'expired' ELSE 'limited' END
      WHERE c.ended_reason IS NULL
        AND (c.expires_at <= $1::timestamptz
             OR EXISTS (SELECT 1 FROM usage_counters u
                         WHERE u.subject_id = c.id AND c.traffic_limit_bytes > 0
                           AND u.rx_total + u.tx_total >= c.traffic_limit_bytes))`,
    [now],
  );
}

/** Names, keys, addresses and ports may have changed hands: rows that will change give them up first. */
async function letGo(tx: EntityManager): Promise<void> {
  await tx.query(
    `INSERT INTO retired_devices (number, public_key)
     SELECT i.number, i.public_key FROM wireguard_interfaces i
      WHERE NOT EXISTS (SELECT 1 FROM restored_wireguard_interfaces r
                         WHERE r.number = i.number AND r.public_key = i.public_key)
     ON CONFLICT DO NOTHING`,
  );
  await tx.query(
    `UPDATE wireguard_interfaces i
        SET listen_port = -1 - i.number, public_key = 'number ' || i.number, range = ('0.0.0.0'::inet + i.number)::cidr
      WHERE NOT EXISTS (SELECT 1 FROM restored_wireguard_interfaces r
                         WHERE (r.number, r.listen_port, r.public_key, r.range)
                             = (i.number, i.listen_port, i.public_key, i.range))`,
  );
  await tx.query(
    `UPDATE clients c
        SET name = chr(1) || c.id, public_key = c.id::text, address = '0.0.0.0'::inet + n.n
       FROM (SELECT id, row_number() OVER () AS n FROM clients) n, restored_clients r
      WHERE n.id = c.id AND r.id = c.id
        AND (c.interface_id, c.name, c.public_key, c.address) IS DISTINCT FROM
            (r.interface_id, r.name, r.public_key, r.address)`,
  );
}

async function restoreInterfaces(tx: EntityManager, columns: readonly string[]): Promise<void> {
  const own = columns.filter((column) => !['id', 'next_host', 'restarted_at'].includes(column));
  await tx.query(
    `UPDATE wireguard_interfaces i SET ${own.map((column) => `"${column}" = r."${column}"`).join(', ')}, next_host = 1
       FROM restored_wireguard_interfaces r WHERE r.number = i.number`,
  );
  await tx.query(
    `INSERT INTO wireguard_interfaces (${quoted(own)})
     SELECT ${quoted(own)} FROM restored_wireguard_interfaces r
      WHERE NOT EXISTS (SELECT 1 FROM wireguard_interfaces i WHERE i.number = r.number) ORDER BY r.number`,
  );
  // The pools are filled again when the next client needs an address.
  await tx.query('DELETE FROM free_addresses');
}

async function restoreClients(tx: EntityManager, columns: readonly string[]): Promise<void> {
  const own = columns.filter((column) => !['interface_id', 'owner_id', 'removed_at'].includes(column));
  const changed = own.filter((column) => column !== 'id');
  await tx.query(
    `INSERT INTO clients (${quoted(own)}, interface_id, owner_id)
     SELECT ${own.map((column) => `r."${column}"`).join(', ')}, i.id, p.local_id
       FROM restored_clients r
       JOIN restored_wireguard_interfaces ri ON ri.id = r.interface_id
       JOIN wireguard_interfaces i ON i.number = ri.number
       LEFT JOIN restored_people p ON p.archived_id = r.owner_id
     ON CONFLICT (id) DO UPDATE
        SET ${changed.map((column) => `"${column}" = excluded."${column}"`).join(', ')},
            interface_id = excluded.interface_id, owner_id = excluded.owner_id, removed_at = NULL`,
  );
}
