import { execFile } from 'node:child_process';
import { TunnelUnavailableError } from '../../domain/tunnels/tunnel.port.js';
import { programPath } from '../../platform/config/program-path.js';

const COMMAND_TIMEOUT_MS = 10_000;
/** A dump of 10,000 peers is about 3 MB. */
const MAX_OUTPUT_BYTES = 64 * 1024 * 1024;
/** Nothing of our own environment, which holds secrets. Messages stay English, as some are matched. */
const TOOL_ENV = { PATH: programPath, LC_ALL: 'C' };

/** A system tool ended with an error; `complaint` is the first line it printed. */
export class CommandFailedError extends Error {
  constructor(
    readonly file: string,
    readonly complaint: string,
    /** The tool is not installed. */
    readonly missing: boolean,
  ) {
    super(`${file}: ${complaint}`);
  }
}

/**
 * Runs a system tool without a shell and answers what it printed. Throws CommandFailedError, or TunnelUnavailableError
 * when it takes longer than ten seconds. Secrets go in by `input` or a file, never by `args`.
 */
export function runCommand(file: string, args: readonly string[], input = ''): Promise<string> {
  return new Promise((resolve, reject) => {
    const options = {
      timeout: COMMAND_TIMEOUT_MS,
      killSignal: 'SIGKILL' as const,
      maxBuffer: MAX_OUTPUT_BYTES,
      env: TOOL_ENV,
    };
    const child = execFile(file, args, options, (error, stdout, stderr) => {
      if (!error) return resolve(stdout);
      if (error.code === 'ENOENT') return reject(new CommandFailedError(file, 'not installed', true));
      if (error.killed) return reject(new TunnelUnavailableError(`${file} did not end in time`));
      const complaint =
        stderr
          .trim()
          .split('\n')[0]
          ?.replace(/^Error: /, '') || `ended with ${error.code ?? error.signal ?? 'an error'}`;
      reject(new CommandFailedError(file, complaint, false));
    });
    child.stdin?.on('error', () => {});
    child.stdin?.end(input);
  });
}
