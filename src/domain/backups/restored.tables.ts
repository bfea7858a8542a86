import type { ClientBase } from 'pg';
import { copyIn } from '../../platform/copy/copy-in.js';
import type { SecretBox } from '../../platform/crypto/secret-box.js';
import { columnsOf, quoted, readBody } from './archive.body.js';
import { BACKUP_TABLES } from './backup.parts.js';
import { RowReseal } from './row.reseal.js';

const BLOCK_BYTES = 64 * 1024;

/** The tables of an archive beside the real ones, until the transaction ends: table to its columns that both have. */
export type RestoredTables = ReadonlyMap<string, string[]>;

/** Under this name a table of the archive is found in the transaction. */
export const restored = (table: string): string => `restored_${table}`;

/**
 * Loads the tables of an archive into temporary ones, streaming. A table that the archive lacks is absent from the
 * answer; a column that it lacks has its default. Throws `backup_damaged`.
 */
export async function loadTables(
  client: ClientBase,
  body: AsyncIterable<Buffer>,
  secretBox: SecretBox,
): Promise<RestoredTables> {
  const loaded = new Map<string, string[]>();
  await readBody(body, ({ table, columns }, keys) => {
    const known = BACKUP_TABLES.find(({ name }) => name === table);
    if (!known || loaded.has(table)) return null;
    return async (rows) => {
      const name = restored(known.name);
      await client.query(`CREATE TEMPORARY TABLE ${name} (LIKE ${known.name} INCLUDING DEFAULTS) ON COMMIT DROP`);
      const reseal = new RowReseal(secretBox, keys, columns, await columnsOf(client, known.name), known.sealed);
      const source = inBlocks(rows, (row) => reseal.convert(row));
      await copyIn(client, `COPY ${name} (${quoted(reseal.keptColumns)}) FROM STDIN`, source);
      await client.query(`ANALYZE ${name}`);
      loaded.set(known.name, reseal.keptColumns);
    };
  });
  return loaded;
}

async function* inBlocks(rows: AsyncIterable<Buffer>, convert: (row: Buffer) => Buffer): AsyncGenerator<Buffer> {
  const newline = Buffer.from('\n');
  let block: Buffer[] = [];
  let bytes = 0;
  for await (const row of rows) {
    const line = convert(row);
    block.push(line, newline);
    bytes += line.length + 1;
    if (bytes < BLOCK_BYTES) continue;
    yield Buffer.concat(block);
    block = [];
    bytes = 0;
  }
  if (block.length > 0) yield Buffer.concat(block);
}
