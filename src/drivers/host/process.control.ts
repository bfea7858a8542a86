import { spawn } from 'node:child_process';
import { constants } from 'node:fs';
import { access, mkdir, open, readFile, stat, truncate } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { programPath } from '../../platform/config/program-path.js';
import { type ProcessIdentity, isAlive } from './process.identity.js';

const GRACE_MS = 3_000;
const SETTLE_MS = 5_000;
const LOOK_AGAIN_MS = 5;
const LOG_LIMIT_BYTES = 1024 * 1024;

/** The program's path; null when it is not installed. */
export async function findProgram(program: string): Promise<string | null> {
  for (const folder of programPath.split(':')) {
    if (!folder.startsWith('/')) continue;
    const path = join(folder, program);
    if (await exists(path, constants.X_OK)) return path;
  }
  return null;
}

export function exists(path: string, mode = constants.F_OK): Promise<boolean> {
  return access(path, mode).then(
    () => true,
    () => false,
  );
}

/**
 * Starts a program in a session of its own, so that it outlives this server, and answers its pid. What it prints goes
 * to `logPath`, emptied before. Throws the error of the start, which names no argument.
 */
export async function startDetached(
  program: string,
  args: readonly string[],
  environment: Record<string, string>,
  logPath: string,
): Promise<number> {
  await mkdir(dirname(logPath), { recursive: true, mode: 0o700 });
  // Appending, so that the file can be cut while it is written.
  const log = await open(logPath, 'a', 0o600);
  try {
    await log.truncate();
    const child = spawn(program, args, {
      detached: true,
      cwd: '/',
      stdio: ['ignore', log.fd, log.fd],
      // Nothing of our own environment: it holds secrets, and /proc shows it for as long as the process lives.
      env: { PATH: programPath, ...environment },
    });
    return await new Promise<number>((resolve, reject) => {
      child.once('error', (error: NodeJS.ErrnoException) => reject(new Error(error.code ?? error.message)));
      child.once('spawn', () => {
        child.unref();
        resolve(child.pid!);
      });
    });
  } finally {
    await log.close();
  }
}

/** Ends a process, by force when it `hangs` or takes longer than three seconds; false when it does not go. */
export async function endProcess(process: ProcessIdentity, hangs: boolean): Promise<boolean> {
  const gone = async (): Promise<boolean> => !(await isAlive(process));
  if (!hangs) {
    signalProcess(process.pid, 'SIGTERM');
    if (await settled(gone, GRACE_MS)) return true;
  }
  signalProcess(process.pid, 'SIGKILL');
  return settled(gone);
}

function signalProcess(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** Waits for a condition; false when it does not come true in time (five seconds unless told). */
export async function settled(condition: () => Promise<boolean>, timeoutMs = SETTLE_MS): Promise<boolean> {
  const until = performance.now() + timeoutMs;
  for (;;) {
    if (await condition()) return true;
    if (performance.now() >= until) return false;
    await delay(LOOK_AGAIN_MS);
  }
}

/** Empties the log of a process when it has grown past a megabyte. */
export async function keepLogShort(path: string): Promise<void> {
  const size = await stat(path).then(
    (entry) => entry.size,
    () => 0,
  );
  if (size > LOG_LIMIT_BYTES) await truncate(path).catch(() => {});
}

/** The last line that a process printed, at most 300 characters. */
export async function lastWords(path: string): Promise<string> {
  const text = await readFile(path, 'utf8').catch(() => '');
  return text.trim().split('\n').at(-1)?.slice(0, 300) || 'it said nothing';
}
