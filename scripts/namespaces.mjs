// Namespaces of their own for `npm test` and `npm run demo`: no device, firewall rule, mount or process of theirs
// reaches this host or outlives them. Node built-ins only.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, mkdirSync, rmdirSync } from 'node:fs';
import { constants as osConstants } from 'node:os';
import { join } from 'node:path';
import { onPath, root } from './setup.mjs';

const namespaces = ['--net', '--mount', '--pid', '--ipc', '--fork', '--mount-proc', '--kill-child'];
const wireguardSockets = '/var/run/wireguard';

/** root: all of it. userns: root in a user namespace. plain: no privileges, so only what needs none. */
export function chooseMode() {
  if (!onPath('unshare')) return 'plain';
  if (process.getuid?.() === 0) return canUnshare(namespaces) ? 'root' : 'plain';
  const hasTunnels = existsSync('/sys/module/wireguard') || mayOpen('/dev/net/tun');
  return hasTunnels && canUnshare(['--user', '--map-root-user', ...namespaces]) ? 'userns' : 'plain';
}

/**
 * Runs this script of ours in new namespaces, or as it is when the mode is plain, and returns its exit code. It calls
 * enterNamespaces() first.
 *
 * @param {string} mode what chooseMode() said
 * @param {string[]} script a file of scripts/ and its arguments
 * @param {Record<string, string>} env on top of this process's own
 * @returns {Promise<number>}
 */
export async function runInNamespaces(mode, [file, ...args], env) {
  const madeSocketFolder = mode === 'root' && !existsSync(wireguardSockets);
  if (madeSocketFolder) mkdirSync(wireguardSockets, { mode: 0o700 });
  try {
    return await runInside(mode, [process.execPath, join(root, 'scripts', file), ...args], env);
  } finally {
    if (madeSocketFolder) removeEmpty(wireguardSockets);
  }
}

/** Loopback, a tmpfs on `folder`, /dev/shm and the folder of WireGuard's sockets, and this network's own /sys. */
export function enterNamespaces(folder) {
  const mount = (type, target, options) => execFileSync('mount', ['-t', type, '-o', options, type, target]);
  execFileSync('ip', ['link', 'set', 'lo', 'up']);
  mount('tmpfs', folder, 'mode=0755');
  mount('tmpfs', '/dev/shm', 'mode=1777');
  if (!existsSync(wireguardSockets)) {
    // A user namespace may not write to this host's /run, so it gets its own.
    mount('tmpfs', '/var/run', 'mode=0755');
    mkdirSync(wireguardSockets);
  }
  mount('tmpfs', wireguardSockets, 'mode=0700');
  // /sys shows the network namespace that it was mounted from; control groups are mounted inside it.
  const groups = join(folder, 'cgroup');
  mkdirSync(groups);
  const kept = existsSync('/sys/fs/cgroup') && tryRun('mount', ['--rbind', '/sys/fs/cgroup', groups]);
  if (tryRun('mount', ['-t', 'sysfs', 'sysfs', '/sys']) && kept) tryRun('mount', ['--move', groups, '/sys/fs/cgroup']);
}

function runInside(mode, run, env) {
  // sh is process 1 and reaps what is orphaned inside, which Node would leave as zombies; `exit` keeps it from exec.
  const init = ['sh', '-c', '"$@"; exit $?', 'sh', ...run];
  const user = mode === 'userns' ? ['--user', '--map-root-user'] : [];
  // The kernel ends unshare when this process dies, and unshare's end takes all the namespaces with it.
  const guard = onPath('setpriv') ? ['setpriv', '--pdeathsig', 'KILL'] : [];
  const argv = mode === 'plain' ? run : [...guard, 'unshare', ...user, ...namespaces, ...init];
  const child = spawn(argv[0], argv.slice(1), { cwd: root, stdio: 'inherit', env: { ...process.env, ...env } });
  return new Promise((resolve, reject) => {
    let stopped = 0;
    let stoppedBy = 0;
    const stop = (signal) => {
      // Ctrl+C reaches all that run inside, which end by themselves; a second one, or any other signal, ends them.
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

function canUnshare(args) {
  return tryRun('unshare', [...args, 'true']);
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

function tryRun(command, args) {
  return spawnSync(command, args, { stdio: 'ignore', timeout: 10_000 }).status === 0;
}
