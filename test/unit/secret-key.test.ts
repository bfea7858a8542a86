import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadSecretKey, SecretKeyFileError } from '../../src/platform/crypto/secret-key.js';

describe('the secret key', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'secret-key-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  it('is SECRET_KEY where that is set, and no file is made', async () => {
    expect(await loadSecretKey({ secretKey: 'given', dataDir: folder })).toBe('given');
    expect(await readdir(folder)).toEqual([]);
  });

  it('is made once, in a file that only its owner reads', async () => {
    const dataDir = join(folder, 'new', 'data');
    const key = await loadSecretKey({ secretKey: null, dataDir });
    expect(key).toMatch(/^[0-9a-f]{64}$/);
    expect(await loadSecretKey({ secretKey: null, dataDir })).toBe(key);
    expect((await stat(join(dataDir, 'secret.key'))).mode & 0o777).toBe(0o600);
    expect(await readdir(dataDir)).toEqual(['secret.key']);
  });

  it('is the same for starters that race', async () => {
    const keys = await Promise.all(
      Array.from({ length: 20 }, () => loadSecretKey({ secretKey: null, dataDir: folder })),
    );
    expect(new Set(keys).size).toBe(1);
    expect(await readdir(folder)).toEqual(['secret.key']);
  });

  it('is never replaced when its file is damaged', async () => {
    const path = join(folder, 'secret.key');
    await writeFile(path, 'half');
    await expect(loadSecretKey({ secretKey: null, dataDir: folder })).rejects.toThrow(SecretKeyFileError);
    expect(await readFile(path, 'utf8')).toBe('half');
  });

  it('has its file closed to others again', async () => {
    const path = join(folder, 'secret.key');
    await writeFile(path, `${'k'.repeat(64)}\n`, { mode: 0o644 });
    expect(await loadSecretKey({ secretKey: null, dataDir: folder })).toBe('k'.repeat(64));
    expect((await stat(path)).mode & 0o777).toBe(0o600);
  });
});
