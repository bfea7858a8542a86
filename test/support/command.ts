import { execFile } from 'node:child_process';

export interface CommandResult {
  stdout: string;
  stderr: string;
  /** Exit code; -1 when a signal ended it (the time limit too). */
  code: number;
}

export interface CommandOptions {
  /** Written to its standard input. */
  input?: string;
  /** 15 s unless told. */
  timeoutMs?: number;
  cwd?: string;
}

/** Runs a program to its end; a failure of the program is a result, one to start it an error. */
export function runCommand(argv: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
  const [program, ...args] = argv;
  if (program === undefined) throw new Error('No program');
  return new Promise((resolve, reject) => {
    const child = execFile(
      program,
      args,
      { cwd: options.cwd, timeout: options.timeoutMs ?? 15_000, killSignal: 'SIGKILL', maxBuffer: 64 * 1024 * 1024 },
      (error, stdout, stderr) => {
        if (error !== null && typeof error.code === 'string') reject(error);
        else resolve({ stdout, stderr, code: error === null ? 0 : typeof error.code === 'number' ? error.code : -1 });
      },
    );
    // A program that ends without reading its input breaks the pipe, which its exit code says better.
    child.stdin?.on('error', () => {});
    child.stdin?.end(options.input ?? '');
  });
}

/** Like runCommand, and throws with what the program said when its exit code is not 0. Returns its output. */
export async function mustRun(argv: readonly string[], options: CommandOptions = {}): Promise<string> {
  const { stdout, stderr, code } = await runCommand(argv, options);
  if (code !== 0) throw new Error(`${argv.join(' ')}: exit code ${code}: ${stderr.trim()}`);
  return stdout;
}
