import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Users of the proxy engine, its inbound, the dashboard's settings, domains, and who is online. */
export class Xray1795305800000 implements MigrationInterface {
  readonly name = 'Xray1795305800000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE xray_users (
        id uuid NOT NULL DEFAULT gen_random_uuid(),
        email varchar(255) NOT NULL,
        email_key text NOT NULL,
        uuid uuid NOT NULL,
        generation integer NOT NULL DEFAULT 1,
        alias varchar(128) NOT NULL DEFAULT '',
        owner_id integer,
        enabled boolean NOT NULL DEFAULT true,
        traffic_limit_bytes bigint NOT NULL DEFAULT 0,
        expires_at timestamptz,
        ended_reason varchar(8),
        removed_at timestamptz,
        created_at timestamptz NOT NULL DEFAULT now(),
        first_seen_at timestamptz,
        last_used_on date,
        days_used integer NOT NULL DEFAULT 0,
        CONSTRAINT xray_users_pkey PRIMARY KEY (id),
        CONSTRAINT xray_users_uuid_key UNIQUE (uuid),
        CONSTRAINT xray_users_owner_id_fkey FOREIGN KEY (owner_id) REFERENCES users (id) ON DELETE SET NULL
      )`);
    await runner.query(
      `CREATE UNIQUE INDEX xray_users_email_key_key ON xray_users (email_key) WHERE removed_at IS NULL`,
    );
    await runner.query(`CREATE INDEX xray_users_owner_id_idx ON xray_users (owner_id)`);
    await runner.query(
      `CREATE INDEX xray_users_expires_at_idx ON xray_users (expires_at) WHERE ended_reason IS NULL AND removed_at IS NULL`,
    );
    await runner.query(
      `CREATE INDEX xray_users_removed_at_idx ON xray_users (removed_at) WHERE removed_at IS NOT NULL`,
    );
    await runner.query(`
      CREATE TABLE xray_inbounds (
        id smallint NOT NULL,
        server_host varchar(253) NOT NULL DEFAULT '',
        server_port integer NOT NULL,
        inbound_tag varchar(64) NOT NULL,
        protocol varchar(8) NOT NULL,
        network varchar(16) NOT NULL,
        path varchar(255) NOT NULL DEFAULT '',
        security varchar(8) NOT NULL,
        sni varchar(253) NOT NULL DEFAULT '',
        fp varchar(32) NOT NULL DEFAULT 'chrome',
        flow varchar(32) NOT NULL DEFAULT '',
        sid varchar(16) NOT NULL DEFAULT '',
        dest varchar(259) NOT NULL DEFAULT '',
        reality_private_key bytea NOT NULL,
        reality_public_key varchar(64) NOT NULL,
        certificate_file text NOT NULL DEFAULT '',
        key_file text NOT NULL DEFAULT '',
        certificate_pem text NOT NULL DEFAULT '',
        key_pem bytea,
        restart_to_cut boolean NOT NULL DEFAULT false,
        revision integer NOT NULL DEFAULT 0,
        CONSTRAINT xray_inbounds_pkey PRIMARY KEY (id)
      )`);
    await runner.query(`
      CREATE TABLE xray_settings (
        id smallint NOT NULL,
        ui jsonb NOT NULL DEFAULT '{}',
        collector_enabled boolean NOT NULL DEFAULT true,
        collector_script varchar(255) NOT NULL DEFAULT '',
        collected_at timestamptz,
        log_inode varchar(20),
        log_position bigint NOT NULL DEFAULT 0,
        CONSTRAINT xray_settings_pkey PRIMARY KEY (id)
      )`);
    await runner.query(`INSERT INTO xray_settings (id) VALUES (1)`);
    // The key begins with the day: a span of all users is one range, and days are dropped from one end.
    await runner.query(`
      CREATE TABLE xray_domains (
        day date NOT NULL,
        user_id uuid NOT NULL,
        domain varchar(253) NOT NULL,
        conns bigint NOT NULL,
        bytes bigint NOT NULL,
        CONSTRAINT xray_domains_pkey PRIMARY KEY (day, user_id, domain)
      ) WITH (fillfactor = 80)`);
    await runner.query(`
      CREATE TABLE xray_minutes (
        at timestamptz NOT NULL,
        online_users integer NOT NULL,
        CONSTRAINT xray_minutes_pkey PRIMARY KEY (at)
      )`);
    // Written by each poll and of no worth after a crash.
    await runner.query(`
      CREATE UNLOGGED TABLE xray_live (
        subject_id uuid NOT NULL,
        at timestamptz NOT NULL,
        up_rate bigint NOT NULL,
        down_rate bigint NOT NULL,
        bytes bigint NOT NULL,
        conns integer NOT NULL,
        addresses jsonb NOT NULL,
        CONSTRAINT xray_live_pkey PRIMARY KEY (subject_id)
      ) WITH (fillfactor = 50)`);
  }

  async down(runner: QueryRunner): Promise<void> {
    for (const table of ['xray_live', 'xray_minutes', 'xray_domains', 'xray_settings', 'xray_inbounds', 'xray_users']) {
      await runner.query(`DROP TABLE ${table}`);
    }
  }
}
