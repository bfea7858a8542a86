import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';

/**
 * Reads a small JSON file of ours; null when it is absent or damaged, which a caller treats alike: what it proves is
 * then not proven.
 */
export async function readState<T extends object>(path: string): Promise<Partial<T> | null> {
  try {
    const value: unknown = JSON.parse(await readFile(path, 'utf8'));
    return typeof value === 'object' && value !== null ? value : null;
  } catch {
    return null;
  }
}

/** Writes it whole and durably, or leaves the old one. Mode 0600 in a folder 0700. */
export async function writeState(path: string, value: object): Promise<void> {
  await writeText(path, `${JSON.stringify(value, null, 2)}\n`);
}

/** Like writeState, of any text. */
export async function writeText(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const draft = `${path}.new`;
  const file = await open(draft, 'w', 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(draft, path);
}

export async function removeState(path: string): Promise<void> {
  await rm(path, { force: true });
}
