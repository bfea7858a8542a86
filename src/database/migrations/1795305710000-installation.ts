import type { MigrationInterface, QueryRunner } from 'typeorm';

/** The one row about the whole installation. */
export class Installation1795305710000 implements MigrationInterface {
  readonly name = 'Installation1795305710000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE installation (
        id smallint NOT NULL,
        installation_id uuid NOT NULL,
        key_check bytea NOT NULL,
        recovery_public_key bytea NOT NULL,
        created_at timestamptz NOT NULL,
        CONSTRAINT installation_pkey PRIMARY KEY (id),
        CONSTRAINT installation_single_row_check CHECK (id = 1)
      )`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP TABLE installation');
  }
}
