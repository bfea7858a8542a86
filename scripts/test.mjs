// `npm test`: sets up, then runs test-run.mjs in namespaces of its own, so that no device, firewall rule, mount or
// process of a test reaches this host or outlives the run. Arguments go to vitest.
import { spawn } from 'node:child_process';
import { accessSync, constants, existsSync, mkdirSync, mkdtempSync, rmSync, rmdirSync } from 'node:fs';
import { constants as osConstants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { SetupError, canUnshare, ensureBuild, ensureDependencies, ensurePackages, onPath, root } from './setup.mjs';

const packages = [
  'iproute2',
  'nftables',
  'wireguard-tools',
  'wireguard-go',
  'iputils-ping',
  'pgbouncer',
  'redis-server',
];
const namespaces = ['--net', '--mount', '--pid', '--ipc', '--fork', '--mount-proc', '--kill-child'];
const wireguardSockets = '/var/run/wireguard';

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}

async function main(args) {
  await ensureDependencies();
  if (!process.env.TEST_DIST) await ensureBuild();
  const { missing, line, reason } = await ensurePackages(packages, { ask: true });
  const mode = chooseMode();
  if (missing.length > 0 && mode !== 'plain') {
    throw new SetupError(`The tests need ${missing.join(', ')} (${reason}). As root: ${line}`);
  }

  const folder = mkdtempSync(join(tmpdir(), 'causeway-test-'));
  const madeSocketFolder = mode === 'root' && !existsSync(wireguardSockets);
  if (madeSocketFolder) mkdirSync(wireguardSockets, { mode: 0o700 });
  try {
    return await runInside(mode, folder, args);
  } finally {
    rmSync(folder, { recursive: true, force: true });
    if (madeSocketFolder) removeEmpty(wireguardSockets);
  }
}

/** root: all of it. userns: root in a user namespace. plain: no privileges, so only tests that need none. */
function chooseMode() {
  if (!onPath('unshare')) return 'plain';
  if (process.getuid?.() === 0) return canUnshare(namespaces) ? 'root' : 'plain';
  const hasTunnels = existsSync('/sys/module/wireguard') || mayOpen('/dev/net/tun');
  return hasTunnels && canUnshare(['--user', '--map-root-user', ...namespaces]) ? 'userns' : 'plain';
}

function runInside(mode, folder, args) {
  const run = [process.execPath, join(root, 'scripts/test-run.mjs'), ...args];
  // sh is process 1 and reaps what the tests orphan, which Node would leave as zombies; `exit` keeps it from exec.
  const init = ['sh', '-c', '"$@"; exit $?', 'sh', ...run];
  const user = mode === 'userns' ? ['--user', '--map-root-user'] : [];
  // The kernel ends unshare when this process dies, and unshare's end takes all the namespaces with it.
  const guard = onPath('setpriv') ? ['setpriv', '--pdeathsig', 'KILL'] : [];
  const argv = mode === 'plain' ? run : [...guard, 'unshare', ...user, ...namespaces, ...init];
  const child = spawn(argv[0], argv.slice(1), {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, CAUSEWAY_TEST_MODE: mode, CAUSEWAY_TEST_FOLDER: folder },
  });
  return new Promise((resolve, reject) => {
    let stopped = 0;
    let stoppedBy = 0;
    const stop = (signal) => {
      // Ctrl+C reaches vitest too, which ends by itself; a second one, or any other signal, ends it at once.
      stopped += 1;
      stoppedBy = osConstants.signals[signal];
      if (mode === 'plain') child.kill('SIGTERM');
      else if (signal !== 'SIGINT' || stopped > 1) child.kill('SIGKILL');
      else setTimeout(() => child.kill('SIGKILL'), 10_000).unref();
    };
    const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'];
    for (const signal of signals) process.on(signal, stop);
    child.once('error', reject);
    child.once('close', (code) => {
      for (const signal of signals) process.off(signal, stop);
      resolve(stopped > 0 ? 128 + stoppedBy : (code ?? 1));
    });
  });
}

function mayOpen(path) {
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/** Somebody else may have begun to use the folder meanwhile. */
function removeEmpty(folder) {
  try {
    rmdirSync(folder);
  } catch (error) {
    if (error.code !== 'ENOTEMPTY' && error.code !== 'ENOENT') throw error;
  }
}
