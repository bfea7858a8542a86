import type { MigrationInterface, QueryRunner } from 'typeorm';

const SAMPLE_COLUMNS = `
  at timestamptz NOT NULL,
  rx bigint NOT NULL,
  tx bigint NOT NULL,
  subject_id uuid NOT NULL,
  conns integer NOT NULL DEFAULT 0,
  kind smallint NOT NULL`;

/** The traffic ledger: one counter row a subject, and samples by minute, five minutes, hour and day. */
export class Usage1795305700000 implements MigrationInterface {
  readonly name = 'Usage1795305700000';

  async up(runner: QueryRunner): Promise<void> {
    // What a poll changes stands last and together: an update then logs these bytes only. The free space keeps every
    // update on its page (HOT), so the primary key, the only index, is never touched.
    await runner.query(`
      CREATE TABLE usage_counters (
        subject_id uuid NOT NULL,
        kind smallint NOT NULL,
        epoch bigint NOT NULL DEFAULT 0,
        conns_total bigint NOT NULL DEFAULT 0,
        conns_booked bigint NOT NULL DEFAULT 0,
        rx_booked bigint NOT NULL DEFAULT 0,
        tx_booked bigint NOT NULL DEFAULT 0,
        rx_last bigint NOT NULL DEFAULT 0,
        tx_last bigint NOT NULL DEFAULT 0,
        rx_total bigint NOT NULL DEFAULT 0,
        tx_total bigint NOT NULL DEFAULT 0,
        last_handshake_at timestamptz,
        CONSTRAINT usage_counters_pkey PRIMARY KEY (subject_id)
      ) WITH (
        fillfactor = 40,
        autovacuum_vacuum_scale_factor = 0.5,
        autovacuum_vacuum_threshold = 1000,
        autovacuum_vacuum_cost_delay = 0,
        autovacuum_analyze_scale_factor = 2
      )`);

    // Keys begin with the time: rows are appended at the index's right edge, a span of all subjects is one range, and
    // one subject's series is a probe for each bucket. Nothing is ever refused for want of a day's partition.
    for (const table of ['usage_minutes', 'usage_five_minutes', 'usage_hours']) {
      await runner.query(`
        CREATE TABLE ${table} (${SAMPLE_COLUMNS},
          CONSTRAINT ${table}_pkey PRIMARY KEY (kind, at, subject_id)
        ) PARTITION BY RANGE (at)`);
      await runner.query(`CREATE TABLE ${table}_default PARTITION OF ${table} DEFAULT`);
    }
    await runner.query(`
      CREATE TABLE usage_days (${SAMPLE_COLUMNS},
        CONSTRAINT usage_days_pkey PRIMARY KEY (kind, at, subject_id)
      ) WITH (fillfactor = 50)`);
  }

  async down(runner: QueryRunner): Promise<void> {
    for (const table of ['usage_days', 'usage_hours', 'usage_five_minutes', 'usage_minutes', 'usage_counters']) {
      await runner.query(`DROP TABLE ${table}`);
    }
  }
}
