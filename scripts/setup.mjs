// The guarded set-up steps that `npm start` and `npm test` share: Node built-ins only, each step does nothing when
// there is nothing to do, and two callers at once wait for each other.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { accessSync, constants, existsSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { createInterface } from 'node:readline/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

/** The checkout. */
export const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** Debian packages by the command that proves them present. */
const commands = {
  iproute2: 'ip',
  nftables: 'nft',
  'wireguard-tools': 'wg',
  'wireguard-go': 'wireguard-go',
  'iputils-ping': 'ping',
  socat: 'socat',
};

/** A step failed and the message says all that the user needs; no stack. */
export class SetupError extends Error {}

/**
 * Installs the npm packages of the lock file, development ones included, when they are not what is installed or the
 * Node ABI changed. An interrupted install is found and done again.
 */
export async function ensureDependencies() {
  if (dependenciesFit()) return;
  await underLock('install', async () => {
    if (dependenciesFit()) return;
    say('Installing npm packages (npm ci)');
    await run('npm', ['ci', '--include=dev', '--no-audit', '--no-fund', '--loglevel=error'], 'npm ci failed');
    writeFileSync(abiFile, process.versions.modules);
  });
}

/** Compiles src/ to dist/ when any source changed since the last good build. */
export async function ensureBuild() {
  if (readText(buildFile) === sourceHash()) return;
  await underLock('build', async () => {
    const hash = sourceHash();
    if (readText(buildFile) === hash) return;
    say('Building (nest build)');
    // A build that fails or is cut short must not be taken for a good one.
    rmSync(buildFile, { force: true });
    await run(process.execPath, [join(root, 'node_modules/@nestjs/cli/bin/nest.js'), 'build'], 'The build failed');
    writeFileSync(buildFile, hash);
  });
}

/**
 * Installs the missing ones of these Debian packages by apt when root. Never throws: what stays missing is returned
 * with the line that an operator can run.
 *
 * @param {string[]} names Debian package names, keys of `commands`
 * @param {{ ask?: boolean }} [options] ask: list them and ask once, on a terminal and outside of CI only
 * @returns {Promise<{ missing: string[], line: string | null, reason: string | null }>}
 */
export async function ensurePackages(names, { ask = false } = {}) {
  const wanted = names.filter((name) => !onPath(commands[name] ?? name));
  if (wanted.length === 0) return { missing: [], line: null, reason: null };
  const line = `apt-get install --no-install-recommends ${wanted.join(' ')}`;
  const leave = (reason) => ({ missing: wanted.filter((name) => !onPath(commands[name] ?? name)), line, reason });
  if (!onPath('apt-get')) return leave('there is no apt-get here');
  if (process.getuid?.() !== 0) return leave('not root');
  if (ask && process.stdin.isTTY && process.stdout.isTTY && !isCi()) {
    const question = createInterface({ input: process.stdin, output: process.stdout });
    const answer = await question.question(`Install ${wanted.join(', ')} by apt? [Y/n] `);
    question.close();
    if (/^n/i.test(answer.trim())) return leave('you said no');
  }
  say(`Installing ${wanted.join(', ')} (apt)`);
  const restore = keepServicesStopped();
  try {
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
    const apt = (...args) =>
      run('apt-get', ['-qq', '-o', 'DPkg::Lock::Timeout=120', ...args], 'apt-get failed', { env, quiet: true });
    await apt('update');
    await apt('install', '--yes', '--no-install-recommends', ...wanted);
  } catch (error) {
    return leave(error.message);
  } finally {
    restore();
  }
  const left = leave('apt did not bring it');
  return left.missing.length === 0 ? { missing: [], line: null, reason: null } : left;
}

/** Whether a command is on the path; the system folders count even when a user's path leaves them out. */
export function onPath(command) {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/local/sbin', '/usr/sbin', '/sbin'];
  return folders.some((folder) => folder !== '' && isExecutable(join(folder, command)));
}

/** True in CI, where nobody can answer a question. */
export function isCi() {
  return /^(1|true|yes)$/i.test(process.env.CI ?? '');
}

const abiFile = join(root, 'node_modules', '.causeway-node-abi');
const buildFile = join(root, 'dist', '.source-hash');

function say(text) {
  process.stdout.write(`${text}\n`);
}

/** npm writes its own record of what is installed last of all, so it is the truth even after an interrupted install. */
function dependenciesFit() {
  const wanted = readJson(join(root, 'package-lock.json'));
  const installed = readJson(join(root, 'node_modules', '.package-lock.json'));
  if (wanted === null) throw new SetupError('package-lock.json is missing or broken');
  if (installed === null) return false;
  const same = Object.entries(wanted.packages).every(([path, entry]) => {
    if (path === '') return true;
    const found = installed.packages?.[path];
    if (found === undefined) return entry.optional === true;
    return found.version === entry.version && found.integrity === entry.integrity;
  });
  if (!same) return false;
  const abi = readText(abiFile);
  if (abi === null) writeFileSync(abiFile, process.versions.modules);
  return abi === null || abi === process.versions.modules;
}

function sourceHash() {
  const hash = createHash('sha256').update(process.versions.modules);
  const add = (path) => hash.update(`\0${path}\0`).update(readFileSync(join(root, path)));
  for (const path of ['package-lock.json', 'tsconfig.json', 'nest-cli.json']) add(path);
  const sources = readdirSync(join(root, 'src'), { recursive: true, withFileTypes: true });
  const files = sources
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name));
  for (const file of files.sort()) add(file.slice(root.length + 1));
  return hash.digest('hex');
}

/** One at a time across processes; a lock whose holder is gone is taken over. */
async function underLock(name, work) {
  // Not in node_modules: npm ci empties that folder.
  const file = join(root, `.${name}.lock`);
  for (let told = false; ;) {
    try {
      writeFileSync(file, String(process.pid), { flag: 'wx' });
      break;
    } catch (error) {
      if (error.code === 'EACCES' || error.code === 'EROFS') {
        throw new SetupError(`${root} cannot be written to, and the step "${name}" is needed`);
      }
      if (error.code !== 'EEXIST') throw error;
      const holder = Number(readText(file));
      if (holder > 0 && !isAlive(holder)) {
        rmSync(file, { force: true });
        continue;
      }
      if (!told) say(`Waiting for process ${holder}, which is doing the same step (${name})`);
      told = true;
      await delay(200);
    }
  }
  const release = () => rmSync(file, { force: true });
  process.once('exit', release);
  try {
    await work();
  } finally {
    process.off('exit', release);
    release();
  }
}

/** Debian asks this file before it starts a service of a package just installed. */
function keepServicesStopped() {
  const file = '/usr/sbin/policy-rc.d';
  const mark = '# causeway: no service starts during this install';
  const ours = readText(file)?.includes(mark) ?? false;
  if (existsSync(file) && !ours) return () => {};
  const restore = () => rmSync(file, { force: true });
  try {
    writeFileSync(file, `#!/bin/sh\n${mark}\nexit 101\n`, { mode: 0o755 });
  } catch {
    return () => {};
  }
  process.once('exit', restore);
  return () => {
    process.off('exit', restore);
    restore();
  };
}

function run(command, args, failure, { env = process.env, quiet = false } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: root, env, stdio: ['ignore', quiet ? 'pipe' : 'inherit', 'pipe'] });
    let tail = '';
    const keep = (chunk) => {
      tail = (tail + chunk).slice(-4000);
    };
    child.stdout?.on('data', keep);
    child.stderr.on('data', (chunk) => {
      keep(chunk);
      if (!quiet) process.stderr.write(chunk);
    });
    const pass = (signal) => child.kill(signal);
    for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, pass);
    const done = () => {
      for (const signal of ['SIGINT', 'SIGTERM']) process.off(signal, pass);
    };
    child.once('error', (error) => {
      done();
      reject(new SetupError(`${failure}: ${error.message}`));
    });
    child.once('close', (code, signal) => {
      done();
      if (code === 0) resolve();
      else reject(new SetupError(`${failure} (${signal ?? `exit code ${code}`})${quiet ? `: ${lastLine(tail)}` : ''}`));
    });
  });
}

function lastLine(text) {
  return text.trim().split('\n').at(-1) ?? '';
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

function isExecutable(file) {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function readText(file) {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return null;
  }
}

function readJson(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    return null;
  }
}
