import type { MigrationInterface, QueryRunner } from 'typeorm';

/** The IPv6 network of an interface. */
export class Ipv61795305900000 implements MigrationInterface {
  readonly name = 'Ipv61795305900000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query('ALTER TABLE wireguard_interfaces ADD COLUMN ipv6_range cidr');
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('ALTER TABLE wireguard_interfaces DROP COLUMN ipv6_range');
  }
}
