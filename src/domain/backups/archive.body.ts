// The content of an archive: lines of JSON, and between them the rows of tables as COPY writes them. A table ends with
// a line `\.`, which no row can be, and one with its count and checksum.
import { createHash } from 'node:crypto';
import type { ClientBase } from 'pg';
import { copyOut } from '../../platform/copy/copy-out.js';
import type { SecretKeys } from '../../platform/crypto/secret-box.js';
import { backupDamaged } from './backups.errors.js';

/** A table to be written. Names are constants of the code. */
export interface TableSource {
  name: string;
  /** Which rows; all when absent. */
  where?: string;
}

/** One table of an archive. */
export interface TableHead {
  table: string;
  columns: string[];
}

/** Takes the rows of a table, each without its line end; null: they are checked and left out. */
export type TableVisitor = (
  table: TableHead,
  keys: SecretKeys,
) => ((rows: AsyncIterable<Buffer>) => Promise<void>) | null;

const NEWLINE = 0x0a;
const END_OF_ROWS = Buffer.from('\\.');
const LONGEST_LINE = 16 * 1024 * 1024;

/**
 * The rows of the tables, as the transaction of `client` sees them, and the secret keys that open what is sealed in
 * them.
 */
export async function* databaseBody(
  client: ClientBase,
  tables: readonly TableSource[],
  keys: SecretKeys,
): AsyncGenerator<Buffer> {
  yield json({ keys });
  for (const table of tables) {
    const columns = await columnsOf(client, table.name);
    yield json({ table: table.name, columns } satisfies TableHead);
    const checksum = createHash('sha256');
    let rows = 0;
    const where = table.where === undefined ? '' : ` WHERE ${table.where}`;
    for await (const block of copyOut(
      client,
      `COPY (SELECT ${quoted(columns)} FROM ${table.name}${where}) TO STDOUT`,
    )) {
      checksum.update(block);
      rows += countLines(block);
      yield block;
    }
    yield Buffer.from('\\.\n');
    yield json({ rows, sha256: checksum.digest('hex') });
  }
  yield json({ end: tables.length });
}

/**
 * Shows the tables to `visit` one after the other. Each count and checksum is compared when its rows were taken, and the
 * end must be there; a visitor that stores rows does so in a transaction that is only committed after this returned.
 * Throws `backup_damaged` and what the visitor threw.
 */
export async function readBody(body: AsyncIterable<Buffer>, visit: TableVisitor): Promise<void> {
  const lines = linesOf(body);
  try {
    const { keys } = await nextJson<{ keys?: SecretKeys }>(lines);
    if (typeof keys?.secretKey !== 'string') throw malformed();
    for (let count = 0; ; count += 1) {
      const head = await nextJson<Partial<TableHead> & { end?: number }>(lines);
      if (head.end !== undefined) {
        if (head.end !== count || !(await lines.next()).done) throw malformed();
        return;
      }
      const { table, columns } = head;
      if (typeof table !== 'string' || !Array.isArray(columns)) throw malformed();
      await readTable(lines, visit({ table, columns }, keys));
    }
  } finally {
    await lines.return(undefined);
  }
}

/** The columns of a table of ours, in their order. */
export async function columnsOf(client: ClientBase, table: string): Promise<string[]> {
  const { rows } = await client.query<{ name: string }>(
    `SELECT attname AS name FROM pg_attribute
      WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum`,
    [table],
  );
  return rows.map(({ name }) => name);
}

export function quoted(columns: readonly string[]): string {
  return columns.map((column) => `"${column.replaceAll('"', '""')}"`).join(', ');
}

async function readTable(
  lines: AsyncGenerator<Buffer>,
  take: ((rows: AsyncIterable<Buffer>) => Promise<void>) | null,
): Promise<void> {
  const checksum = createHash('sha256');
  let count = 0;
  let ended = false;
  async function* rows(): AsyncGenerator<Buffer> {
    while (!ended) {
      const line = await lines.next();
      if (line.done) throw malformed();
      if (line.value.equals(END_OF_ROWS)) {
        ended = true;
        return;
      }
      checksum.update(line.value).update('\n');
      count += 1;
      yield line.value;
    }
  }
  await take?.(rows());
  // What the visitor left.
  for await (const _row of rows());
  const found = { rows: count, sha256: checksum.digest('hex') };
  const wanted = await nextJson<{ rows?: number; sha256?: string }>(lines);
  if (wanted.rows !== found.rows || wanted.sha256 !== found.sha256) throw malformed();
}

async function nextJson<T>(lines: AsyncGenerator<Buffer>): Promise<T> {
  const line = await lines.next();
  if (line.done) throw malformed();
  try {
    return JSON.parse(line.value.toString('utf8')) as T;
  } catch {
    throw malformed();
  }
}

async function* linesOf(body: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const piece of body) {
    rest = rest.length === 0 ? piece : Buffer.concat([rest, piece]);
    let from = 0;
    for (let at = rest.indexOf(NEWLINE); at >= 0; at = rest.indexOf(NEWLINE, from)) {
      yield rest.subarray(from, at);
      from = at + 1;
    }
    rest = rest.subarray(from);
    if (rest.length > LONGEST_LINE) throw malformed();
  }
  if (rest.length > 0) throw malformed();
}

function countLines(block: Buffer): number {
  let count = 0;
  for (let at = block.indexOf(NEWLINE); at >= 0; at = block.indexOf(NEWLINE, at + 1)) count += 1;
  return count;
}

function json(value: unknown): Buffer {
  return Buffer.from(`${JSON.stringify(value)}\n`);
}

function malformed() {
  return backupDamaged('its content is not what an archive holds.');
}
