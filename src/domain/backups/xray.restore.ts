import type { EntityManager } from 'typeorm';
import type { UsageService } from '../usage/usage.service.js';
import { quoted } from './archive.body.js';

/** There is a user or an inbound, so the proxy engine has something to follow. Users being removed count. */
export async function hasXray(tx: EntityManager): Promise<boolean> {
  const [row] = await tx.query<[{ some: boolean }]>(
    'SELECT EXISTS (SELECT FROM xray_users) OR EXISTS (SELECT FROM xray_inbounds) AS some',
  );
  return row.some;
}

/**
 * Makes the users of the proxy engine what the archive says, by their id. Others are removed as by hand: their rows go
 * when the engine has booked their last bytes. What each user used stays counted, also of one that was deleted since.
 * Needs `restored_people`.
 *
 * @param columns that archive and table both have.
 */
export async function restoreXrayUsers(
  tx: EntityManager,
  columns: readonly string[],
  usage: UsageService,
  now: Date,
): Promise<void> {
  await tx.query(
    `UPDATE xray_users x SET removed_at = $1
      WHERE x.removed_at IS NULL AND NOT EXISTS (SELECT FROM restored_xray_users r WHERE r.id = x.id)`,
    [now],
  );
  await letGo(tx);
  const own = columns.filter((column) => !['owner_id', 'generation', 'removed_at'].includes(column));
  // What was measured stays.
  const kept = ['id', 'first_seen_at', 'last_used_on', 'days_used'];
  const changed = own.filter((column) => !kept.includes(column));
  // A user who comes back, or whose uuid does, is a new one to the engine: see XrayUser.generation.
  await tx.query(
    `INSERT INTO xray_users AS x (${quoted(own)}, owner_id, generation)
     SELECT ${own.map((column) => `r."${column}"`).join(', ')}, p.local_id, r.generation + 1
       FROM restored_xray_users r LEFT JOIN restored_people p ON p.archived_id = r.owner_id
     ON CONFLICT (id) DO UPDATE
        SET ${changed.map((column) => `"${column}" = excluded."${column}"`).join(', ')},
            owner_id = excluded.owner_id, removed_at = NULL,
            generation = x.generation + (x.uuid <> excluded.uuid OR x.removed_at IS NOT NULL)::int`,
  );
  const missing = await tx.query<{ id: string }[]>(
    'SELECT x.id FROM xray_users x WHERE NOT EXISTS (SELECT FROM usage_counters u WHERE u.subject_id = x.id)',
  );
  await usage.revive(
    'xray',
    missing.map(({ id }) => id),
    tx,
  );
  await tx.query(
    `UPDATE xray_users x
        SET ended_reason = CASE WHEN x.expires_at <= $1::timestamptz THEN 'expired' ELSE 'limited' END
      WHERE x.ended_reason IS NULL AND x.removed_at IS NULL
        AND (x.expires_at <= $1::timestamptz
             OR EXISTS (SELECT FROM usage_counters u
                         WHERE u.subject_id = x.id AND x.traffic_limit_bytes > 0
                           AND u.rx_total + u.tx_total >= x.traffic_limit_bytes))`,
    [now],
  );
}

/** Makes the inbound what the archive says; without one in it nothing listens any more. */
export async function restoreXrayInbounds(tx: EntityManager, columns: readonly string[]): Promise<void> {
  const own = columns.filter((column) => column !== 'revision');
  await tx.query(
    'DELETE FROM xray_inbounds i WHERE NOT EXISTS (SELECT FROM restored_xray_inbounds r WHERE r.id = i.id)',
  );
  // A change that is under way must not take itself back over this one: the revision grows in any case.
  await tx.query(
    `INSERT INTO xray_inbounds AS i (${quoted(own)}, revision)
     SELECT ${quoted(own)}, r.revision + 1 FROM restored_xray_inbounds r
     ON CONFLICT (id) DO UPDATE
        SET ${own.map((column) => `"${column}" = excluded."${column}"`).join(', ')}, revision = i.revision + 1`,
  );
}

/** Makes the dashboard's settings what the archive says. How far the books are is none of them. */
export async function restoreXraySettings(tx: EntityManager, columns: readonly string[]): Promise<void> {
  const books = ['collected_at', 'log_inode', 'log_position'];
  const own = columns.filter((column) => !books.includes(column));
  await tx.query(
    `UPDATE xray_settings s SET ${own.map((column) => `"${column}" = r."${column}"`).join(', ')}
       FROM restored_xray_settings r WHERE r.id = s.id`,
  );
}

/** Emails and uuids may have changed hands: rows that are to change, or are being removed, give them up first. */
async function letGo(tx: EntityManager): Promise<void> {
  await tx.query(
    `UPDATE xray_users x SET email_key = chr(1) || x.id
      WHERE x.removed_at IS NULL
        AND EXISTS (SELECT FROM restored_xray_users r WHERE r.email_key = x.email_key AND r.id <> x.id)`,
  );
  await tx.query(
    `UPDATE xray_users x SET uuid = gen_random_uuid(), generation = x.generation + 1
      WHERE EXISTS (SELECT FROM restored_xray_users r WHERE r.uuid = x.uuid AND r.id <> x.id)`,
  );
}
