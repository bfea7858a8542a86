import { readFile, readdir, readlink } from 'node:fs/promises';

/** A process of this boot, told apart from a later one with the same pid. */
export interface ProcessIdentity {
  pid: number;
  /** Clock ticks since boot, as /proc shows them. */
  startTime: number;
}

let bootIdOnce: Promise<string> | null = null;

/** Changes with every boot of the machine. */
export function bootId(): Promise<string> {
  bootIdOnce ??= readFile('/proc/sys/kernel/random/boot_id', 'utf8').then((text) => text.trim());
  return bootIdOnce;
}

/** When the process started; null when it is gone, or dead and only waits to be reaped. */
export async function startTimeOf(pid: number): Promise<number | null> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => null);
  if (stat === null) return null;
  // The second field is the name in brackets and may hold anything; fields are counted after its end.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state, startTime] = [fields[0], Number(fields[19])];
  return state === 'Z' || state === 'X' || !Number.isSafeInteger(startTime) ? null : startTime;
}

export async function isAlive(process: ProcessIdentity): Promise<boolean> {
  return (await startTimeOf(process.pid)) === process.startTime;
}

export async function commandLineOf(pid: number): Promise<string[]> {
  const text = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
  return text.split('\0').slice(0, -1);
}

/** One variable of the environment that the process was started with. */
export async function environmentOf(pid: number, name: string): Promise<string | null> {
  const text = await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '');
  const entry = text.split('\0').find((line) => line.startsWith(`${name}=`));
  return entry === undefined ? null : entry.slice(name.length + 1);
}

/** Names the network namespace; without a pid our own. Null when the process is gone. */
export function networkNamespaceOf(pid: number | 'self' = 'self'): Promise<string | null> {
  return readlink(`/proc/${pid}/ns/net`).catch(() => null);
}

/** All processes whose command line passes. */
export async function findProcesses(matches: (commandLine: string[]) => boolean): Promise<ProcessIdentity[]> {
  const found: ProcessIdentity[] = [];
  for (const entry of await readdir('/proc')) {
    const pid = Number(entry);
    if (!Number.isInteger(pid) || !matches(await commandLineOf(pid))) continue;
    const startTime = await startTimeOf(pid);
    if (startTime !== null) found.push({ pid, startTime });
  }
  return found;
}
