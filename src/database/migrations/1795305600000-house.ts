import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Users, tokens, settings, events, and WireGuard interfaces with their clients. */
export class House1795305600000 implements MigrationInterface {
  readonly name = 'House1795305600000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE users (
        id integer GENERATED ALWAYS AS IDENTITY,
        username varchar(150) NOT NULL,
        password_hash text NOT NULL,
        password_weak boolean NOT NULL DEFAULT false,
        role varchar(8) NOT NULL,
        email varchar(254),
        first_name varchar(150) NOT NULL DEFAULT '',
        last_name varchar(150) NOT NULL DEFAULT '',
        telegram_id varchar(32),
        is_active boolean NOT NULL DEFAULT true,
        token_version integer NOT NULL DEFAULT 1,
        totp_secret bytea,
        totp_enabled boolean NOT NULL DEFAULT false,
        totp_last_step integer NOT NULL DEFAULT 0,
        created_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT users_pkey PRIMARY KEY (id),
        CONSTRAINT users_username_key UNIQUE (username),
        CONSTRAINT users_telegram_id_key UNIQUE (telegram_id),
        CONSTRAINT users_role_check CHECK (role IN ('admin', 'user'))
      )`);
    await runner.query(`
      CREATE TABLE api_tokens (
        name varchar(64) NOT NULL,
        token bytea NOT NULL,
        token_hash bytea NOT NULL,
        scope varchar(32) NOT NULL DEFAULT 'admin',
        created_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT api_tokens_pkey PRIMARY KEY (name),
        CONSTRAINT api_tokens_token_hash_key UNIQUE (token_hash)
      )`);
    await runner.query(`
      CREATE TABLE revoked_sessions (
        id uuid NOT NULL,
        expires_at timestamptz NOT NULL,
        CONSTRAINT revoked_sessions_pkey PRIMARY KEY (id)
      )`);
    await runner.query(`CREATE INDEX revoked_sessions_expires_at_idx ON revoked_sessions (expires_at)`);
    await runner.query(`
      CREATE TABLE settings (
        key varchar(64) NOT NULL,
        value text,
        sealed bytea,
        CONSTRAINT settings_pkey PRIMARY KEY (key)
      )`);
    await runner.query(`
      CREATE TABLE events (
        id bigint GENERATED ALWAYS AS IDENTITY,
        at timestamptz NOT NULL DEFAULT now(),
        type varchar(32) NOT NULL,
        severity varchar(8) NOT NULL DEFAULT 'INFO',
        service varchar(32) NOT NULL,
        action varchar(64) NOT NULL,
        actor varchar(200) NOT NULL DEFAULT 'system',
        ip varchar(64),
        target varchar(255),
        message text NOT NULL,
        details jsonb NOT NULL DEFAULT '{}',
        CONSTRAINT events_pkey PRIMARY KEY (id, at)
      ) PARTITION BY RANGE (at)`);
    await runner.query(`CREATE INDEX events_type_at_idx ON events (type, at)`);
    // Nothing is ever refused for want of a month's partition.
    await runner.query(`CREATE TABLE events_default PARTITION OF events DEFAULT`);
    await runner.query(`
      CREATE TABLE wireguard_interfaces (
        id integer GENERATED ALWAYS AS IDENTITY,
        number integer NOT NULL,
        address inet NOT NULL,
        range cidr NOT NULL,
        listen_port integer NOT NULL,
        private_key bytea NOT NULL,
        public_key char(44) NOT NULL,
        enabled boolean NOT NULL DEFAULT true,
        next_host bigint NOT NULL DEFAULT 1,
        restarted_at timestamptz NOT NULL DEFAULT now(),
        created_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT wireguard_interfaces_pkey PRIMARY KEY (id),
        CONSTRAINT wireguard_interfaces_number_key UNIQUE (number),
        CONSTRAINT wireguard_interfaces_listen_port_key UNIQUE (listen_port),
        CONSTRAINT wireguard_interfaces_public_key_key UNIQUE (public_key),
        CONSTRAINT wireguard_interfaces_range_excl EXCLUDE USING gist (range inet_ops WITH &&)
      )`);
    await runner.query(`
      CREATE TABLE free_addresses (
        interface_id integer NOT NULL,
        address inet NOT NULL,
        CONSTRAINT free_addresses_pkey PRIMARY KEY (interface_id, address),
        CONSTRAINT free_addresses_interface_id_fkey FOREIGN KEY (interface_id)
          REFERENCES wireguard_interfaces (id) ON DELETE CASCADE
      )`);
    await runner.query(`
      CREATE TABLE clients (
        id uuid NOT NULL DEFAULT gen_random_uuid(),
        interface_id integer NOT NULL,
        owner_id integer,
        name varchar(64) NOT NULL,
        address inet NOT NULL,
        public_key char(44) NOT NULL,
        private_key bytea NOT NULL,
        preshared_key bytea NOT NULL,
        note text NOT NULL DEFAULT '',
        traffic_limit_bytes bigint NOT NULL DEFAULT 0,
        expires_at timestamptz,
        enabled boolean NOT NULL DEFAULT true,
        ended_reason varchar(8),
        removed_at timestamptz,
        created_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT clients_pkey PRIMARY KEY (id),
        CONSTRAINT clients_public_key_key UNIQUE (public_key),
        CONSTRAINT clients_interface_address_key UNIQUE (interface_id, address),
        CONSTRAINT clients_interface_id_fkey FOREIGN KEY (interface_id) REFERENCES wireguard_interfaces (id) ON DELETE RESTRICT,
        CONSTRAINT clients_owner_id_fkey FOREIGN KEY (owner_id) REFERENCES users (id) ON DELETE SET NULL
      )`);
    await runner.query(`CREATE UNIQUE INDEX clients_name_key ON clients (name) WHERE removed_at IS NULL`);
    await runner.query(`CREATE INDEX clients_owner_id_idx ON clients (owner_id)`);
    await runner.query(
      `CREATE INDEX clients_expires_at_idx ON clients (expires_at) WHERE ended_reason IS NULL AND removed_at IS NULL`,
    );
    await runner.query(`CREATE INDEX clients_removed_at_idx ON clients (removed_at) WHERE removed_at IS NOT NULL`);
    await runner.query(`
      CREATE TABLE engine_status (
        id varchar(64) NOT NULL,
        state varchar(8) NOT NULL,
        message text NOT NULL,
        hint text,
        seen_at timestamptz NOT NULL,
        CONSTRAINT engine_status_pkey PRIMARY KEY (id)
      )`);
  }

  async down(runner: QueryRunner): Promise<void> {
    for (const table of [
      'engine_status',
      'clients',
      'free_addresses',
      'wireguard_interfaces',
      'events',
      'settings',
      'revoked_sessions',
      'api_tokens',
      'users',
    ]) {
      await runner.query(`DROP TABLE ${table}`);
    }
  }
}
