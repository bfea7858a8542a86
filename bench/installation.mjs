// Servers under test with their databases: installed once, seeded by SQL, copied, started and stopped.
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { once } from 'node:events';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import pg from 'pg';
import { startWorker } from './hosts.mjs';

export const PORT = 8000;
export const DEVICE = 'wg0';
const RANGE = '10.0.0.1/16';
const FIRST_HOST = 2;
const load = new URL('load.mjs', import.meta.url).pathname;

/** One cluster with a database for each of the hosts. */
export class Databases {
  constructor(socketFolder) {
    this.socketFolder = socketFolder;
  }

  /** It takes connections a moment before it takes queries. */
  async ready() {
    for (const until = performance.now() + 30_000; ;) {
      try {
        return await this.query('postgres', 'SELECT 1');
      } catch (error) {
        if (error.code !== '57P03' || performance.now() > until) throw error;
      }
    }
  }

  url(name) {
    return `postgres://causeway@localhost/${name}?host=${encodeURIComponent(this.socketFolder)}`;
  }

  async query(name, text, values = []) {
    const client = new pg.Client({ connectionString: this.url(name) });
    await client.connect();
    try {
      return await client.query(text, values);
    } finally {
      await client.end();
    }
  }

  create(name, template = 'template0') {
    return this.query('postgres', `CREATE DATABASE ${name} TEMPLATE ${template}`);
  }
}

/** A server on a host of its own, with the program beside it that asks it things. */
export class Server {
  constructor({ name, host, databaseUrl, product, folder, secretKey, profile }) {
    Object.assign(this, { name, host, product, profile });
    this.logFile = join(folder, `${name}.log`);
    this.env = {
      PATH: process.env.PATH,
      HOME: folder,
      PORT: String(PORT),
      HOST: '127.0.0.1',
      DATA_DIR: join(folder, `${name}-data`),
      DATABASE_URL: databaseUrl,
      SECRET_KEY: secretKey,
      RATE_LIMITS: 'off',
    };
    mkdirSync(this.env.DATA_DIR, { recursive: true });
    this.beside = startWorker(host, load, { BENCH_PORT: String(PORT) });
    this.token = null;
  }

  get pid() {
    return this.process.pid;
  }

  /** Milliseconds from its start until it says that all of WireGuard is up. */
  async start() {
    const profile = this.profile
      ? [
          '--cpu-prof',
          '--cpu-prof-interval=500',
          `--cpu-prof-dir=${this.profile}`,
          `--cpu-prof-name=${this.name}.cpuprofile`,
        ]
      : [];
    const argv = [process.execPath, ...profile, join(this.product, 'dist/main.js')];
    const begun = performance.now();
    // Nobody reads along: a reader would share the processors.
    const log = openSync(this.logFile, 'a');
    this.process = this.host.start(argv, { cwd: '/', env: this.env, stdio: ['ignore', log, log] });
    closeSync(log);
    const ready = this.beside.ask('whenUp', { port: PORT, part: 'wireguard', limitMs: 90_000 });
    const ended = once(this.process, 'exit').then(([code]) => {
      throw new Error(`The server ${this.name} ended with ${code}; its log is ${this.logFile}`);
    });
    ended.catch(() => {});
    await Promise.race([ready, ended]);
    return performance.now() - begun;
  }

  async stop() {
    const ended = once(this.process, 'exit');
    this.process.kill('SIGTERM');
    await ended;
  }

  /** Requests as load.mjs takes them. */
  send(requests, options = {}) {
    return this.beside.ask('send', { port: PORT, token: this.token, requests, atOnce: 1, ...options });
  }

  async call(method, path, body) {
    const { bodies } = await this.send([{ method, path, body }], { keep: 'bodies' });
    return bodies[0];
  }

  async install(endpoint) {
    const admin = { username: 'admin', password: randomBytes(12).toString('base64url') };
    await this.call('POST', '/install', {
      server_ip: endpoint,
      wg_address_range: RANGE,
      wg_port: '51820',
      admin_user: admin.username,
      admin_password: admin.password,
    });
    this.token = (await this.call('POST', '/login', admin)).access_token;
  }
}

/** Clients with counters by SQL, sealed as the server seals; the keys are random and nobody's. */
export async function seed(databases, name, { count, product, secretKey }) {
  const { SecretBox } = await import(pathToFileURL(join(product, 'dist/platform/crypto/secret-box.js')).href);
  const box = new SecretBox(secretKey);
  const key = () => randomBytes(32).toString('base64');
  const columns = { names: [], addresses: [], publicKeys: [], privateKeys: [], presharedKeys: [] };
  for (let at = 0; at < count; at += 1) {
    const host = FIRST_HOST + at;
    columns.names.push(`client-${at}`);
    columns.addresses.push(`10.0.${host >> 8}.${host & 255}`);
    columns.publicKeys.push(key());
    columns.privateKeys.push(box.seal('wireguard-client-key', key()));
    columns.presharedKeys.push(box.seal('wireguard-preshared-key', key()));
  }
  await databases.query(
    name,
    `INSERT INTO clients (interface_id, name, address, public_key, private_key, preshared_key, traffic_limit_bytes,
                          expires_at, created_at)
     SELECT (SELECT id FROM wireguard_interfaces WHERE number = 0), r.*, 10^15, now() + interval '90 days',
            now() - interval '1 day' + row_number() OVER () * interval '1 ms'
       FROM unnest($1::text[], $2::inet[], $3::text[], $4::bytea[], $5::bytea[]) AS r`,
    Object.values(columns),
  );
  await databases.query(
    name,
    `INSERT INTO usage_counters (subject_id, kind, rx_total, rx_booked, tx_total, tx_booked, last_handshake_at)
     SELECT id, 1, rx, rx, tx, tx, now() - random() * interval '10 minutes'
       FROM (SELECT id, floor(random() * 10^11) AS rx, floor(random() * 10^12) AS tx FROM clients) c`,
  );
  await databases.query(name, 'UPDATE wireguard_interfaces SET next_host = $1', [FIRST_HOST + count]);
  await databases.query(name, 'VACUUM ANALYZE');
  return FIRST_HOST + count;
}
