import 'reflect-metadata';
import { DataSource } from 'typeorm';
import { describe, expect, it } from 'vitest';
import { dataSourceOptions } from '../../src/database/data-source.js';
import { BACKUP_TABLES } from '../../src/domain/backups/backup.parts.js';

/** Columns of bytes in which nothing is sealed, or that have a way of their own to a new key. */
const notSealed = new Set(['api_tokens.token_hash', 'installation.key_check', 'installation.recovery_public_key']);

describe('columns of bytes', () => {
  it('are all known to backups and to the rotation of the secret key', async () => {
    const source = new DataSource({ ...dataSourceOptions('postgres://nowhere/none') });
    // Builds the metadata without connecting.
    await (source as unknown as { buildMetadatas(): Promise<void> }).buildMetadatas();
    const columns = source.entityMetadatas
      .flatMap((entity) => entity.columns.map((column) => ({ entity, column })))
      .filter(({ column }) => column.type === 'bytea')
      .map(({ entity, column }) => `${entity.tableName}.${column.databaseName}`);
    const known = BACKUP_TABLES.flatMap((table) =>
      Object.keys(table.sealed).map((column) => `${table.name}.${column}`),
    );
    expect(known.length).toBeGreaterThan(5);
    expect(columns.filter((column) => !notSealed.has(column)).sort()).toEqual([...known].sort());
  });
});
