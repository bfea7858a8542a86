import { execFile, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { promisify } from 'node:util';
import { programPath } from '../platform/config/program-path.js';
import { DatabaseStartError } from './database-start.error.js';
import type { StartLog } from './start-log.js';

const run = promisify(execFile);

/** As whom PostgreSQL runs, which refuses root. */
export interface PostgresAccount {
  readonly name: string;
  /** What to put before the command line. */
  readonly prefix: readonly string[];
  /** Who owns the data folder; null when it is simply us. */
  readonly owner: { readonly uid: number; readonly gid: number } | null;
}

/**
 * Ourselves when not root; else the system user `causeway`, made when missing, or the first of a few that every system
 * has. A root that may not change users (a container without CAP_SETUID) becomes somebody else in a user namespace.
 */
export async function postgresAccount(log: StartLog): Promise<PostgresAccount> {
  if (process.getuid?.() !== 0) return ownAccount();
  const entry = findUser(['causeway']) ?? (await makeUser(log)) ?? findUser(['postgres', 'node', 'nobody', 'daemon']);
  if (entry === undefined) {
    throw new DatabaseStartError(
      'PostgreSQL refuses to run as root, and no other user is in /etc/passwd. Add one (useradd --system causeway) or set DATABASE_URL.',
    );
  }
  const { name, uid, gid } = entry;
  if (spawnSync('true', { uid, gid, timeout: 10_000 }).status === 0) return { name, prefix: [], owner: { uid, gid } };
  const prefix = ['unshare', '--user', `--map-user=${uid}`, `--map-group=${gid}`, '--'];
  if (spawnSync('unshare', [...prefix.slice(1), 'true'], { timeout: 10_000 }).status === 0) {
    return { name, prefix, owner: null };
  }
  throw new DatabaseStartError(
    `PostgreSQL refuses to run as root, and this root may not become the user ${name}. ` +
      'Allow CAP_SETUID, CAP_SETGID and CAP_CHOWN, start Causeway as another user, or set DATABASE_URL.',
  );
}

function ownAccount(): PostgresAccount {
  try {
    return { name: userInfo().username, prefix: [], owner: null };
  } catch {
    throw new DatabaseStartError(
      `The user id ${process.getuid?.()} has no entry in /etc/passwd, which PostgreSQL needs. Add one, start Causeway as another user, or set DATABASE_URL.`,
    );
  }
}

function findUser(names: string[]): { name: string; uid: number; gid: number } | undefined {
  const users = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .map((line) => line.split(':'));
  for (const name of names) {
    const user = users.find((fields) => fields[0] === name);
    const uid = Number(user?.[2]);
    const gid = Number(user?.[3]);
    if (uid > 0 && gid > 0) return { name, uid, gid };
  }
  return undefined;
}

async function makeUser(log: StartLog): Promise<ReturnType<typeof findUser>> {
  const args = ['--system', '--user-group', '--no-create-home', '--home-dir', '/nonexistent'];
  try {
    await run('useradd', [...args, '--shell', '/usr/sbin/nologin', 'causeway'], {
      timeout: 30_000,
      env: { PATH: programPath },
    });
    log.info('Made the system user causeway, as whom the database runs');
  } catch {
    // No useradd, or /etc cannot be written to; or another process made it just now.
  }
  return findUser(['causeway']);
}
