import { execFile } from 'node:child_process';
import { basename, isAbsolute } from 'node:path';
import { constants } from 'node:fs';
import { type ProxyFamily, ProxyRefusedError, ProxyUnavailableError } from '../../domain/xray/proxy-engine.port.js';
import { programPath } from '../../platform/config/program-path.js';
import { exists, findProgram } from '../host/process.control.js';

const COMMAND_TIMEOUT_MS = 15_000;
const VERSION = /^(Xray|V2Ray) (\d{1,4}(?:\.\d{1,6}){1,3})/m;
/** Lines that engines print before what they have to say. */
const CHATTER = /^(Xray|V2Ray) \d|unified platform|penetrates everything|Reading config|Using .* config|DEPRECATED/i;

/** A program that is an engine. */
export interface EngineProgram {
  path: string;
  family: ProxyFamily;
  /** As it prints it. */
  version: string;
}

interface Outcome {
  code: number | string;
  output: string;
}

/** The program of XRAY_BIN, else `xray`, else `v2ray` on the path; null when there is none, or it is no engine. */
export async function findEngine(setting: string | null): Promise<EngineProgram | null> {
  for (const name of setting === null ? ['xray', 'v2ray'] : [setting]) {
    const path = isAbsolute(name) ? ((await exists(name, constants.X_OK)) ? name : null) : await findProgram(name);
    const found = path === null ? null : await identify(path);
    if (found !== null) return found;
  }
  return null;
}

async function identify(path: string): Promise<EngineProgram | null> {
  // The dash first: V2Ray 4 takes `version` for nothing and starts serving.
  for (const args of [['-version'], ['version']]) {
    const { output } = await run(path, args).catch(() => ({ output: '' }));
    const match = VERSION.exec(output);
    if (match !== null) return { path, family: match[1] === 'Xray' ? 'xray' : 'v2ray', version: match[2]! };
  }
  return null;
}

/** Whether it is at least this one. */
export function isAtLeast(version: string, ...wanted: number[]): boolean {
  const parts = version.split('.').map(Number);
  for (const [index, number] of wanted.entries()) {
    if ((parts[index] ?? 0) !== number) return (parts[index] ?? 0) > number;
  }
  return true;
}

/** The arguments that make the program serve this config. */
export function serveArguments(program: EngineProgram, configPath: string): string[] {
  return hasCommands(program) ? ['run', '-c', configPath] : ['-config', configPath];
}

/** Has the engine check a config. Throws ProxyRefusedError with its complaint, or ProxyUnavailableError. */
export async function checkConfig(program: EngineProgram, configPath: string): Promise<void> {
  const args =
    program.family === 'xray'
      ? ['run', '-test', '-c', configPath]
      : hasCommands(program)
        ? ['test', '-c', configPath]
        : ['-test', '-config', configPath];
  const { code, output } = await run(program.path, args);
  if (code === 0) return;
  throw new ProxyRefusedError(`The engine refuses the configuration: ${complaintOf(output)}`);
}

/** What an engine complained of, out of all that it printed: the innermost reason, as one line. */
export function complaintOf(output: string): string {
  const told = output
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !CHATTER.test(line));
  const line = told.find((text) => /failed|error|panic|invalid/i.test(text)) ?? told.at(-1) ?? 'it did not say why';
  const chain = line
    .replace(/^\d{4}\/\d\d\/\d\d [\d:.]+ /, '')
    .replace(/^\[\w+\] /, '')
    .split(' > ');
  // Each link of the chain begins with the package that says it.
  const links = chain.map((link) =>
    link.replace(/^(?:github\.com\/|v2ray\.com\/|main|infra|proxy|common|app|transport)[\w./-]*: /, ''),
  );
  return links
    .slice(-2)
    .join(': ')
    .replace(/[^\x20-\x7e]/g, ' ')
    .slice(0, 300);
}

function hasCommands({ family, version }: EngineProgram): boolean {
  return family === 'xray' || isAtLeast(version, 5);
}

/** Runs a program to its end. Throws ProxyUnavailableError when that takes too long or it cannot be started. */
function run(path: string, args: readonly string[]): Promise<Outcome> {
  const options = {
    timeout: COMMAND_TIMEOUT_MS,
    killSignal: 'SIGKILL' as const,
    maxBuffer: 4 * 1024 * 1024,
    cwd: '/',
    // Nothing of our own environment, which holds secrets.
    env: { PATH: programPath, LC_ALL: 'C' },
  };
  return new Promise((resolve, reject) => {
    const child = execFile(path, args, options, (error, stdout, stderr) => {
      const name = basename(path);
      if (error?.killed) return reject(new ProxyUnavailableError(`${name} did not end in time`));
      if (typeof error?.code === 'string') {
        return reject(new ProxyUnavailableError(`${name} could not be run: ${error.code}`));
      }
      resolve({ code: error === null ? 0 : (error.code ?? 'a signal'), output: `${stdout}\n${stderr}` });
    });
    child.stdin?.on('error', () => {});
    child.stdin?.end();
  });
}
