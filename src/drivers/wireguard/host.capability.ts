import { constants } from 'node:fs';
import { open, readFile } from 'node:fs/promises';
import type { TunnelCapability } from '../../domain/tunnels/tunnel.port.js';
import type { Config } from '../../platform/config/config.js';
import { findProgram } from '../host/process.control.js';
import { CommandFailedError, runCommand } from './command.runner.js';
import { PROGRAM } from './userspace.transport.js';

const CAP_NET_ADMIN = 12n;
const TUN = '/dev/net/tun';

/** What a host lacks, and the line that mends it. */
export interface Lack {
  message: string;
  hint: string;
}

const INSTALL = 'apt-get install -y --no-install-recommends';

/** Finds out by trying which kind of device this host can have now. */
export async function probeHost(setting: Config['wireguard']): Promise<TunnelCapability> {
  if (setting === 'off') {
    return {
      backend: null,
      message: 'WireGuard is switched off by the setting WIREGUARD=off',
      hint: 'Remove WIREGUARD=off and restart',
    };
  }
  const common = await commonLack();
  if (common !== null) return { backend: null, ...common };

  const kernelLack = setting === 'wireguard-go' ? null : await lackOfKernel();
  if (setting !== 'wireguard-go' && kernelLack === null) {
    return { backend: 'kernel', message: 'WireGuard runs in the kernel', hint: null };
  }
  const userspaceLack = setting === 'kernel' ? null : await lackOfUserspace();
  if (setting !== 'kernel' && userspaceLack === null) {
    return { backend: 'wireguard-go', message: 'WireGuard runs as wireguard-go', hint: null };
  }
  return { backend: null, ...(userspaceLack ?? kernelLack)! };
}

async function commonLack(): Promise<Lack | null> {
  if (!(await mayAdministerNetwork())) {
    return process.getuid?.() === 0
      ? {
          message: 'This process may not make network devices: it lacks the capability CAP_NET_ADMIN',
          hint: 'Start the container with --cap-add NET_ADMIN --device /dev/net/tun',
        }
      : { message: 'This process may not make network devices: it is not root', hint: 'sudo npm start' };
  }
  if (process.getuid?.() !== 0) {
    return { message: 'WireGuard sockets in /var/run/wireguard are for root alone', hint: 'sudo npm start' };
  }
  if ((await findProgram('ip')) === null) {
    return { message: 'The program ip is not installed', hint: `${INSTALL} iproute2` };
  }
  return null;
}

async function lackOfKernel(): Promise<Lack | null> {
  if ((await findProgram('wg')) === null) {
    return { message: 'The program wg is not installed', hint: `${INSTALL} wireguard-tools` };
  }
  // The kernel loads its module by itself when a device of the type is asked for.
  const probe = `cwprobe${process.pid}`;
  try {
    await runCommand('ip', ['link', 'add', 'dev', probe, 'type', 'wireguard']);
  } catch (error) {
    const complaint = error instanceof CommandFailedError ? error.complaint : 'ip did not answer';
    // One that was left behind shows as well that the type is there.
    if (!complaint.includes('File exists')) {
      return { message: `The kernel makes no WireGuard device (${complaint})`, hint: 'modprobe wireguard' };
    }
  }
  await runCommand('ip', ['link', 'del', 'dev', probe]).catch(() => {});
  return null;
}

async function lackOfUserspace(): Promise<Lack | null> {
  if ((await findProgram(PROGRAM)) === null) {
    return {
      message: 'The kernel has no WireGuard, and wireguard-go is not installed',
      hint: `${INSTALL} wireguard-go`,
    };
  }
  try {
    await (await open(TUN, constants.O_RDWR)).close();
    return null;
  } catch (error) {
    switch ((error as NodeJS.ErrnoException).code) {
      case 'ENOENT':
        return {
          message: `${TUN} is missing, which wireguard-go needs`,
          hint: `modprobe tun; mkdir -p /dev/net && mknod ${TUN} c 10 200 (in a container: --device ${TUN})`,
        };
      case 'ENODEV':
      case 'ENXIO':
        return { message: 'The kernel has no TUN devices, which wireguard-go needs', hint: 'modprobe tun' };
      default:
        return { message: `${TUN} may not be opened`, hint: `In a container: --device ${TUN}; else chmod 0666 ${TUN}` };
    }
  }
}

async function mayAdministerNetwork(): Promise<boolean> {
  const status = await readFile('/proc/self/status', 'utf8').catch(() => '');
  const mask = /^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1];
  return mask !== undefined && ((BigInt(`0x${mask}`) >> CAP_NET_ADMIN) & 1n) === 1n;
}
