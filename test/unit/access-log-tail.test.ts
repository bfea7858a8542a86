import { appendFile, mkdtemp, rename, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type LogMark, readAccessLog, truncateAccessLog } from '../../src/domain/xray/access-log.tail.js';

let folder: string;
let path: string;
let mark: LogMark;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'causeway-log-'));
  path = join(folder, 'access.log');
  mark = { inode: null, position: 0 };
});

afterEach(() => rm(folder, { recursive: true, force: true }));

const line = (domain: string) => `2026/11/21 23:26:43 10.0.0.7:51656 accepted tcp:${domain}:443 [direct] email: u-1\n`;

/** The domains that came since the last call. */
async function tail(limit = 1_000_000): Promise<string[]> {
  const domains: string[] = [];
  const read = await readAccessLog(path, mark, limit, (entry) => void domains.push(entry.domain));
  if (read) mark = { inode: read.inode, position: read.position };
  return domains;
}

test('each line is read once, and half a line when it is whole', async () => {
  expect(await tail()).toEqual([]);
  await writeFile(path, line('a.example') + line('b.example').slice(0, 40));
  expect(await tail()).toEqual(['a.example']);
  expect(await tail()).toEqual([]);
  await appendFile(path, line('b.example').slice(40) + line('c.example'));
  expect(await tail()).toEqual(['b.example', 'c.example']);
});

test('a file that was put in its place, or emptied, is read from its start', async () => {
  await writeFile(path, line('a.example').repeat(3));
  expect(await tail()).toHaveLength(3);
  await rename(path, `${path}.1`);
  await writeFile(path, line('b.example').repeat(4));
  expect(await tail()).toHaveLength(4);
  await writeFile(path, line('c.example'));
  expect(await tail()).toEqual(['c.example']);
});

test('a log is emptied only when all of it was read and it is large', async () => {
  await writeFile(path, line('a.example').repeat(100));
  await tail();
  expect(await truncateAccessLog(path, mark, 1_000_000)).toBe(false);
  await appendFile(path, line('b.example'));
  expect(await truncateAccessLog(path, mark, 1_000)).toBe(false);
  expect(await tail()).toEqual(['b.example']);
  expect(await truncateAccessLog(path, mark, 1_000)).toBe(true);
  expect((await stat(path)).size).toBe(0);
  // The mark still says the old place: what is written now stands before it.
  await appendFile(path, line('c.example'));
  expect(await tail()).toEqual(['c.example']);
});

test('many lines and one without an end are read in bounded steps', async () => {
  await writeFile(path, line('a.example').repeat(20_000) + 'x'.repeat(600_000) + '\n' + line('b.example'));
  const first = await tail(300_000);
  expect(first.length).toBeGreaterThan(3_000);
  expect(first.length).toBeLessThan(10_000);
  let total = first.length;
  for (let more = await tail(300_000); more.length > 0; more = await tail(300_000)) total += more.length;
  await tail();
  expect((await stat(path)).size).toBe(mark.position);
  expect(total).toBeGreaterThanOrEqual(20_000);
});
