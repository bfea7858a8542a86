import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, readdir, readlink } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { type CommandOptions, type CommandResult, mustRun, runCommand } from './command.js';
import { eventually } from './wait.js';

// /sys shows the network namespace that it was mounted from; control groups are mounted inside it and kept.
const setUp = `
set -e
mkdir -p /mnt && mount -t tmpfs tmpfs /mnt && mkdir /mnt/cgroup
mount --rbind /sys/fs/cgroup /mnt/cgroup 2>/dev/null || true
if mount -t sysfs sysfs /sys 2>/dev/null; then mount --move /mnt/cgroup /sys/fs/cgroup 2>/dev/null || true; fi
umount -l /mnt
mount -t tmpfs -o mode=0700 tmpfs /var/run/wireguard
ip link set lo up
echo ready
exec sleep infinity
`;

/**
 * A network and a mount namespace with its own WireGuard socket folder, held by a sleeping process: they outlive every
 * process that works in them, until close().
 */
export class Namespace {
  private constructor(private readonly holder: ChildProcess) {}

  static async create(): Promise<Namespace> {
    // The kernel ends the holder with its worker.
    const argv = ['--pdeathsig', 'KILL', 'unshare', '--net', '--mount', 'sh', '-c', setUp];
    const holder = spawn('setpriv', argv, { stdio: ['ignore', 'pipe', 'inherit'] });
    const ended = once(holder, 'exit').then(() => {
      throw new Error('A namespace could not be made');
    });
    ended.catch(() => {});
    await Promise.race([once(createInterface({ input: holder.stdout }), 'line'), ended]);
    return new Namespace(holder);
  }

  /** Any process in it; for `ip ... netns <pid>`. */
  get pid(): number {
    return this.holder.pid!;
  }

  /** For `nsenter --net=<path>`. */
  get path(): string {
    return `/proc/${this.pid}/ns/net`;
  }

  /** The argv that runs this one inside. It execs: the pid of what is started is the program's own. */
  enter(argv: readonly string[]): string[] {
    return ['nsenter', '--target', String(this.pid), '--net', '--mount', '--', ...argv];
  }

  exec(argv: readonly string[], options?: CommandOptions): Promise<CommandResult> {
    return runCommand(this.enter(argv), options);
  }

  /** Like exec, and throws when the exit code is not 0. */
  must(argv: readonly string[], options?: CommandOptions): Promise<string> {
    return mustRun(this.enter(argv), options);
  }

  /** Pids of all that runs in the network namespace, the holder left out. */
  async processes(): Promise<number[]> {
    const own = await readlink(this.path);
    const found: number[] = [];
    for (const entry of await readdir('/proc')) {
      const pid = Number(entry);
      if (!Number.isInteger(pid) || pid === this.pid) continue;
      const link = await readlink(`/proc/${entry}/ns/net`).catch(() => null);
      if (link === own && !(await isZombie(pid))) found.push(pid);
    }
    return found;
  }

  /** Kills all that runs in it; the devices go with it. */
  async close(): Promise<void> {
    if (this.holder.exitCode !== null || this.holder.signalCode !== null) return;
    await eventually(
      async () => {
        const left = await this.processes();
        for (const pid of left) killIfThere(pid);
        return left.length === 0;
      },
      { what: 'the end of all processes of a namespace', intervalMs: 10 },
    );
    const ended = once(this.holder, 'exit');
    this.holder.kill('SIGKILL');
    await ended;
  }
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

async function isZombie(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  return stat.slice(stat.lastIndexOf(')') + 2).startsWith('Z');
}

export interface Subnet {
  /** Unique in this run; names its veth. */
  index: number;
  /** IPv4 addresses of the two ends, in one /30. */
  near: string;
  far: string;
  /** IPv6 addresses of the two ends, in one /64. */
  near6: string;
  far6: string;
}

/** 198.18.0.0/15 is for benchmarks: no test's tunnel uses it, and no firewall takes it for a private network. */
export function subnet(index: number): Subnet {
  const base = index * 4;
  const address = (offset: number): string =>
    [198, 18 + ((base >> 16) & 1), (base >> 8) & 255, (base & 255) + offset].join('.');
  const prefix = `2001:db8:${index.toString(16)}`;
  return { index, near: address(1), far: address(2), near6: `${prefix}::1`, far6: `${prefix}::2` };
}

/**
 * Joins `inner` to the tests' own namespace by a veth pair: `eth0` inside, with a default route to the tests.
 */
export async function joinToTests(inner: Namespace): Promise<Subnet> {
  for (;;) {
    const net = subnet(Math.floor(Math.random() * 16_000));
    const name = `t${net.index}`;
    const made = await runCommand([
      'ip',
      'link',
      'add',
      name,
      'type',
      'veth',
      'peer',
      'name',
      'eth0',
      'netns',
      String(inner.pid),
    ]);
    // The name is the lock on the number, across all workers.
    if (made.code !== 0 && made.stderr.includes('File exists')) continue;
    if (made.code !== 0) throw new Error(made.stderr);
    await mustRun(['ip', '-batch', '-'], { input: addressLines(name, net.near, net.near6) });
    const routes = `route add 0.0.0.0/0 via ${net.near}\nroute add ::/0 via ${net.near6}\n`;
    await inner.must(['ip', '-batch', '-'], { input: addressLines('eth0', net.far, net.far6) + routes });
    return net;
  }
}

/** Lines for `ip -batch`: addresses of one end of a veth pair, then up. */
export function addressLines(device: string, address: string, address6: string): string {
  return (
    `address add ${address}/30 dev ${device}\n` +
    `address add ${address6}/64 dev ${device} nodad\n` +
    `link set ${device} up\n`
  );
}
