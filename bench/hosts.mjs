// Hosts of the bench: network namespaces with WireGuard sockets of their own, the cable between two of them, and
// programs of ours that work inside and are spoken to over IPC.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readlinkSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';

const execute = promisify(execFile);

/** Lives until this process ends. */
export async function newHost() {
  const script = `
    set -e
    mount -t tmpfs -o mode=0700 tmpfs /var/run/wireguard
    mount -t sysfs sysfs /sys || true
    ip link set lo up
    echo ready
    exec sleep infinity`;
  const argv = ['--pdeathsig', 'KILL', 'unshare', '--net', '--mount', 'sh', '-c', script];
  const holder = spawn('setpriv', argv, { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(createInterface({ input: holder.stdout }), 'line');
  const enter = (argvInside) => ['nsenter', '--target', String(holder.pid), '--net', '--mount', '--', ...argvInside];
  return {
    pid: holder.pid,
    start: (argvInside, options) => spawn('setpriv', ['--pdeathsig', 'KILL', ...enter(argvInside)], options),
    /** Runs a program to its end and gives what it printed. It may take half a minute. */
    run: (argvInside) => run(enter(argvInside)),
  };
}

/** eth0 of both, in one /30. */
export async function connectHosts(near, far, { nearAddress, farAddress }) {
  const argv = ['ip', 'link', 'add', 'eth0', 'netns', String(near.pid)];
  await run([...argv, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', String(far.pid)]);
  for (const [host, address] of [
    [near, nearAddress],
    [far, farAddress],
  ]) {
    await host.run(['ip', 'address', 'add', `${address}/30`, 'dev', 'eth0']);
    await host.run(['ip', 'link', 'set', 'eth0', 'up']);
  }
}

/** A module of ours in a process inside `host`; its exported functions are what `ask` calls by name. */
export function startWorker(host, file, env) {
  const child = host.start([process.execPath, file], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    env: { PATH: process.env.PATH, ...env },
  });
  const waiting = new Map();
  let last = 0;
  child.on('message', ({ id, result, error }) => {
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    if (error === undefined) resolve(result);
    else reject(new Error(error));
  });
  child.once('exit', (code, signal) => {
    for (const { reject } of waiting.values()) reject(new Error(`${file} ended with ${signal ?? code}`));
  });
  return {
    pid: child.pid,
    ask: (name, options = {}) =>
      new Promise((resolve, reject) => {
        last += 1;
        waiting.set(last, { resolve, reject });
        child.send({ id: last, name, options });
      }),
  };
}

/** The other side of startWorker. */
export function serveWorker(functions) {
  process.on('message', ({ id, name, options }) => {
    Promise.resolve()
      .then(() => functions[name](options))
      .then(
        (result) => process.send({ id, result }),
        (error) => process.send({ id, error: error.stack ?? String(error) }),
      );
  });
  process.once('disconnect', () => process.exit());
}

/** A wireguard-go of the host's own, without key and peers. It ends with this process. */
export async function makeDevice(host, name) {
  host.start(['wireguard-go', '-f', name], { stdio: 'ignore', env: { ...process.env, LOG_LEVEL: 'error' } });
  for (const until = performance.now() + 10_000; ;) {
    try {
      return await host.run(['wg', 'show', name]);
    } catch (error) {
      if (performance.now() > until) throw error;
    }
  }
}

/** Ends the wireguard-go of a host and waits until its device is gone; nothing when there is none. */
export async function endDevice(host, name) {
  const { stdout } = await execute('ps', ['-e', '-o', 'pid=,args=']);
  const own = networkOf(host.pid);
  for (const line of stdout.split('\n')) {
    const [, pid, args] = /^\s*(\d+) (.*)$/.exec(line) ?? [];
    if (!args?.includes('wireguard-go') || !args.endsWith(` ${name}`)) continue;
    if (networkOf(Number(pid)) === own) process.kill(Number(pid), 'SIGKILL');
  }
  for (;;) {
    const there = await host.run(['ip', 'link', 'show', name]).then(
      () => true,
      () => false,
    );
    if (!there) return;
  }
}

export async function run([program, ...args]) {
  const { stdout } = await execute(program, args, { timeout: 30_000, killSignal: 'SIGKILL', maxBuffer: 64 * 2 ** 20 });
  return stdout.trim();
}

function networkOf(pid) {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`);
  } catch {
    return null;
  }
}
