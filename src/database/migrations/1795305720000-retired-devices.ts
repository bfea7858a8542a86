import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Devices that a restore left without an interface, until they are taken away. */
export class RetiredDevices1795305720000 implements MigrationInterface {
  readonly name = 'RetiredDevices1795305720000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE retired_devices (
        number integer NOT NULL,
        public_key char(44) NOT NULL,
        CONSTRAINT retired_devices_pkey PRIMARY KEY (number, public_key)
      )`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP TABLE retired_devices');
  }
}
