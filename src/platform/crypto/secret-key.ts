import { randomBytes } from 'node:crypto';
import { chmod, link, mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Config } from '../config/config.js';

const FILE_NAME = 'secret.key';
const PREVIOUS_NAME = 'secret.key.previous';
const MIN_LENGTH = 32;

/** `DATA_DIR/secret.key` is there and cannot serve. */
export class SecretKeyFileError extends Error {
  constructor(path: string, what: string) {
    super(`The secret key file ${path} ${what}. Bring it back from a copy, or set SECRET_KEY.`);
    this.name = 'SecretKeyFileError';
  }
}

/**
 * The secret key of this installation: SECRET_KEY, else the content of `DATA_DIR/secret.key`, which the first start
 * makes. Starters that race all get the same key, and a crash leaves either no file or a whole one.
 */
export async function loadSecretKey(config: Pick<Config, 'secretKey' | 'dataDir'>): Promise<string> {
  if (config.secretKey !== null) return config.secretKey;
  const path = join(config.dataDir, FILE_NAME);
  return (await readKey(path)) ?? (await makeKey(config.dataDir, path));
}

/**
 * The key that the database may still be sealed with: SECRET_KEY_PREVIOUS, else `DATA_DIR/secret.key.previous`, which is
 * there while a rotation is under way or was cut short. Null otherwise.
 */
export async function loadPreviousSecretKey(
  config: Pick<Config, 'secretKey' | 'secretKeyPrevious' | 'dataDir'>,
): Promise<string | null> {
  if (config.secretKeyPrevious !== null || config.secretKey !== null) return config.secretKeyPrevious;
  return readKey(join(config.dataDir, PREVIOUS_NAME));
}

/** Puts a new key in the place of `DATA_DIR/secret.key`, which becomes the previous one. Whole after a crash anywhere. */
export async function replaceSecretKey(config: Pick<Config, 'dataDir'>, key: string): Promise<void> {
  const path = join(config.dataDir, FILE_NAME);
  const draft = join(config.dataDir, `.${FILE_NAME}.next`);
  await rm(draft, { force: true });
  const file = await open(draft, 'wx', 0o600);
  try {
    await file.writeFile(`${key}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  await link(path, join(config.dataDir, PREVIOUS_NAME));
  await rename(draft, path);
  await syncFolder(config.dataDir);
}

/** The rotation is over: nothing is sealed with the previous key any more. */
export async function dropPreviousSecretKey(config: Pick<Config, 'dataDir'>): Promise<void> {
  await rm(join(config.dataDir, PREVIOUS_NAME), { force: true });
  await syncFolder(config.dataDir);
}

async function readKey(path: string): Promise<string | null> {
  let content: string;
  try {
    content = await readFile(path, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return null;
    throw new SecretKeyFileError(path, `cannot be read (${code})`);
  }
  const key = content.replace(/\r?\n$/, '');
  if (key.length < MIN_LENGTH) throw new SecretKeyFileError(path, 'does not hold a whole key');
  if (((await stat(path)).mode & 0o077) !== 0) await chmod(path, 0o600).catch(() => undefined);
  return key;
}

async function makeKey(folder: string, path: string): Promise<string> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  // A whole file first, then its name: link() refuses where another starter was faster, rename() would replace its key.
  const draft = join(folder, `.${FILE_NAME}.${randomBytes(6).toString('hex')}`);
  try {
    const file = await open(draft, 'wx', 0o600);
    try {
      await file.writeFile(`${randomBytes(32).toString('hex')}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    await link(draft, path).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error;
    });
  } finally {
    await rm(draft, { force: true });
  }
  await syncFolder(folder);
  const key = await readKey(path);
  if (key === null) throw new SecretKeyFileError(path, 'was taken away while it was made');
  return key;
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
