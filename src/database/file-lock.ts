import { spawn } from 'node:child_process';
import { closeSync, constants, ftruncateSync, openSync, writeSync } from 'node:fs';
import { DatabaseStartError } from './database-start.error.js';

/**
 * An exclusive flock(2) on a file. The kernel drops it when the last process that holds the descriptor ends, however it
 * ends, and it holds across PID, network and mount namespaces.
 */
export class FileLock {
  private constructor(readonly fd: number) {}

  /** Waits up to `waitMs`, then null: somebody else holds it. */
  static async take(path: string, waitMs = 0): Promise<FileLock | null> {
    const fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
    try {
      if (await flock(fd, waitMs)) return new FileLock(fd);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
    closeSync(fd);
    return null;
  }

  /** Leaves a note in the file for whoever finds it locked. */
  note(text: string): void {
    ftruncateSync(this.fd);
    writeSync(this.fd, text, 0);
  }

  /** A child that was given the descriptor goes on holding the lock. */
  release(): void {
    closeSync(this.fd);
  }
}

/** Node has no flock, but the lock belongs to the open file that parent and child share, so it outlives this child. */
function flock(fd: number, waitMs: number): Promise<boolean> {
  const wait = waitMs > 0 ? ['--wait', String(waitMs / 1000)] : ['--nonblock'];
  return new Promise((resolve, reject) => {
    const child = spawn('flock', ['--exclusive', ...wait, '3'], {
      stdio: ['ignore', 'ignore', 'ignore', fd],
      timeout: waitMs + 10_000,
    });
    child.once('error', () =>
      reject(
        new DatabaseStartError('The embedded database needs the command flock (util-linux). Or set DATABASE_URL.'),
      ),
    );
    child.once('exit', (code) => resolve(code === 0));
  });
}
