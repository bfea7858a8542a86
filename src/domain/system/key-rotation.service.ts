import { Injectable } from '@nestjs/common';
import { InjectDataSource } from '@nestjs/typeorm';
import { DataSource, type EntityManager } from 'typeorm';
import { SecretBox } from '../../platform/crypto/secret-box.js';
import { ApiTokensService } from '../auth/api-tokens.service.js';
import { BACKUP_TABLES } from '../backups/backup.parts.js';
import { InstallationService } from '../settings/installation.service.js';

const BATCH = 1_000;

/** Seals everything that is sealed with the previous secret key with the present one. */
@Injectable()
export class KeyRotationService {
  constructor(
    @InjectDataSource() private readonly dataSource: DataSource,
    private readonly secrets: SecretBox,
    private readonly apiTokens: ApiTokensService,
    private readonly installation: InstallationService,
  ) {}

  /**
   * No server may run meanwhile: it would not understand what is sealed anew. Safe to repeat after a crash anywhere: the
   * check value comes last, so the previous key is asked for until all is done. Returns how many values were sealed.
   */
  async rotate(): Promise<number> {
    // Their look-up hashes hang on the key too.
    await this.apiTokens.reseal();
    return this.dataSource.transaction(async (tx) => {
      let sealed = 0;
      for (const table of BACKUP_TABLES) {
        for (const [column, label] of Object.entries(table.sealed)) {
          if (table.name !== 'api_tokens') sealed += await this.reseal(tx, table.name, column, label);
        }
      }
      await this.installation.resealKeyCheck(tx);
      return sealed;
    });
  }

  /** Names of tables and columns are our own constants. */
  private async reseal(tx: EntityManager, table: string, column: string, label: string): Promise<number> {
    const all: { place: string; value: Buffer }[] = await tx.query(
      `SELECT ctid::text AS place, ${column} AS value FROM ${table} WHERE ${column} IS NOT NULL FOR UPDATE`,
    );
    const old = all.filter(({ value }) => this.secrets.needsRotation(value));
    for (let from = 0; from < old.length; from += BATCH) {
      const batch = old.slice(from, from + BATCH);
      await tx.query(
        `UPDATE ${table} t SET ${column} = fresh.value
           FROM unnest($1::text[], $2::bytea[]) AS fresh (place, value) WHERE t.ctid = fresh.place::tid`,
        [
          batch.map(({ place }) => place),
          batch.map(({ value }) => this.secrets.seal(label, this.secrets.openBytes(label, value))),
        ],
      );
    }
    return old.length;
  }
}
