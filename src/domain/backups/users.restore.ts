import type { EntityManager } from 'typeorm';
import { backupWithoutAdmin } from './backups.errors.js';
import { quoted } from './archive.body.js';

/**
 * Finds for each user of the archive who that is here: in the same installation the one of that id, else the one of that
 * name, else nobody. The answer is the temporary table `restored_people (archived_id, local_id)`.
 */
export async function matchPeople(tx: EntityManager, sameInstallation: boolean): Promise<void> {
  await tx.query(
    'CREATE TEMPORARY TABLE restored_people (archived_id integer PRIMARY KEY, local_id integer UNIQUE) ON COMMIT DROP',
  );
  await tx.query(
    `INSERT INTO restored_people (archived_id, local_id)
     SELECT r.id, u.id FROM restored_users r LEFT JOIN users u ON u.id = r.id AND $1`,
    [sameInstallation],
  );
  await tx.query(
    `UPDATE restored_people p SET local_id = u.id
       FROM restored_users r JOIN users u ON u.username = r.username
      WHERE r.id = p.archived_id AND p.local_id IS NULL
        AND NOT EXISTS (SELECT 1 FROM restored_people q WHERE q.local_id = u.id)`,
  );
}

/**
 * Makes users what the archive says. Customers who came since stay, since money hangs on them; admins who came since are
 * deactivated. Who is brought back gets a new id, so that no token of the earlier one opens anything. Throws
 * `backup_without_admin`.
 *
 * @param columns that archive and table both have.
 */
export async function restoreUsers(tx: EntityManager, columns: readonly string[]): Promise<void> {
  const admins = await countAdmins(tx);
  const own = columns.filter((column) => !['id', 'token_version', 'totp_last_step'].includes(column));
  // Names may have changed hands: they are let go first. No name begins with a control character.
  await tx.query(
    `UPDATE users u SET username = chr(1) || u.id, telegram_id = NULL
       FROM restored_people p JOIN restored_users r ON r.id = p.archived_id
      WHERE u.id = p.local_id AND (u.username, u.telegram_id) IS DISTINCT FROM (r.username, r.telegram_id)`,
  );
  await tx.query(
    `UPDATE users u
        SET ${own.map((column) => `"${column}" = r."${column}"`).join(', ')},
            token_version = u.token_version +
              ((u.password_hash, u.role, u.is_active) IS DISTINCT FROM (r.password_hash, r.role, r.is_active))::int,
            totp_last_step = greatest(u.totp_last_step, r.totp_last_step)
       FROM restored_people p JOIN restored_users r ON r.id = p.archived_id
      WHERE u.id = p.local_id`,
  );
  await tx.query(
    `UPDATE users SET is_active = false, token_version = token_version + 1
      WHERE role = 'admin' AND is_active
        AND NOT EXISTS (SELECT 1 FROM restored_people p WHERE p.local_id = users.id)`,
  );
  await tx.query(
    `INSERT INTO users (${quoted(own)}, totp_last_step)
     SELECT ${quoted(own)}, totp_last_step FROM restored_users r
      WHERE EXISTS (SELECT 1 FROM restored_people p WHERE p.archived_id = r.id AND p.local_id IS NULL) ORDER BY r.id`,
  );
  await tx.query(
    `UPDATE restored_people p SET local_id = u.id
       FROM restored_users r JOIN users u ON u.username = r.username
      WHERE r.id = p.archived_id AND p.local_id IS NULL`,
  );
  if (admins > 0 && (await countAdmins(tx)) === 0) throw backupWithoutAdmin();
}

async function countAdmins(tx: EntityManager): Promise<number> {
  const [row] = await tx.query<[{ count: number }]>(
    `SELECT count(*)::int AS count FROM users WHERE role = 'admin' AND is_active`,
  );
  return row.count;
}
