// The same work by hand, with no more than it takes: what the server's figures are measured against. It has tables and
// a device like the server's, in a database and on a host of its own.
import { createCipheriv, createDecipheriv, generateKeyPairSync, hkdfSync, randomBytes } from 'node:crypto';
import { crc32, deflateSync } from 'node:zlib';
import Fastify from 'fastify';
import pg from 'pg';
import encodeQR from 'qr';
import { serveWorker } from './hosts.mjs';
import { UapiConnection } from './uapi.mjs';

const CONNECTIONS = 8;
const databases = [];
const devices = [];
let secretKey;
let server;
let nextHost;
let made = [];
/** Client ids by public key in hex, as a panel keeps them. */
let clientOf = new Map();

serveWorker({
  async open(options) {
    ({ secretKey, server, nextHost } = options);
    for (let at = 0; at < CONNECTIONS; at += 1) {
      const database = new pg.Client({ connectionString: options.databaseUrl });
      // It ends with the cluster, before this program does.
      database.on('error', () => {});
      await database.connect();
      databases.push(database);
    }
  },

  /** Sets all clients on an empty device in one call; gives what that call took. */
  async bulkSet({ device }) {
    for (const old of devices.splice(0)) old.close();
    for (let at = 0; at < CONNECTIONS; at += 1) devices.push(new UapiConnection(device));
    await devices[0].set(`private_key=${randomBytes(32).toString('hex')}\nlisten_port=51820\n`);
    const { rows } = await databases[0].query(
      'SELECT id, public_key, preshared_key, host(address) AS address FROM clients ORDER BY address',
    );
    clientOf = new Map(rows.map((row) => [hex(row.public_key), row.id]));
    const lines = rows
      .map((row) => peerLines(row.public_key, open(PSK_LABEL, row.preshared_key), row.address))
      .join('');
    const begun = performance.now();
    await devices[0].set(lines);
    return performance.now() - begun;
  },

  create: ({ count, atOnce }) => timed(count, atOnce, createOne),
  disable: ({ atOnce }) => timed(made.length, atOnce, disableOne),
  async remove({ atOnce }) {
    const ms = await timed(made.length, atOnce, removeOne);
    made = [];
    return ms;
  },

  /** GET /api/wireguard/client. */
  async list() {
    const begun = performance.now();
    const { rows } = await databases[0].query({ name: 'list', text: LIST });
    const text = JSON.stringify(
      rows.map((row) => ({
        id: row.id,
        name: row.name,
        address: row.address,
        publicKey: row.public_key,
        createdAt: `${row.created_at.toISOString().slice(0, 19)}Z`,
        enabled: row.active,
      })),
    );
    return { ms: performance.now() - begun, bytes: text.length };
  },

  /** GET /clients, with private keys. */
  async listWithKeys() {
    const begun = performance.now();
    const { rows } = await databases[0].query({ name: 'list-with-keys', text: LIST_WITH_KEYS });
    const now = Date.now();
    const text = JSON.stringify(
      rows.map((row) => ({
        name: row.name,
        expires: row.expires_at === null ? '9999-12-31T23:59:59' : row.expires_at.toISOString().slice(0, 19),
        traffic: row.traffic_limit_bytes,
        wg_id: 0,
        note: row.note,
        public_key: row.public_key,
        private_key: open(KEY_LABEL, row.private_key),
        address: row.address,
        created_at: row.created_at.toISOString().slice(0, 19),
        used_trafic: { download: Number(row.tx_total), upload: Number(row.rx_total) },
        connected_now: row.active && row.last_handshake_at !== null && now - row.last_handshake_at.getTime() < 180_000,
        status: row.active,
      })),
    );
    return { ms: performance.now() - begun, bytes: text.length };
  },

  /** One read of the device, one statement that books it, one that finds who is past a quota. */
  async sync() {
    const begun = performance.now();
    const ids = [];
    const received = [];
    const sent = [];
    const handshakes = [];
    let at = -1;
    for (const line of (await devices[0].get()).split('\n')) {
      if (line.startsWith('public_key=')) {
        at = ids.push(clientOf.get(line.slice(11))) - 1;
      } else if (line.startsWith('rx_bytes=')) {
        received[at] = line.slice(9);
      } else if (line.startsWith('tx_bytes=')) {
        sent[at] = line.slice(9);
      } else if (line.startsWith('last_handshake_time_sec=')) {
        handshakes[at] = line.slice(24);
      }
    }
    const { rowCount } = await databases[0].query({
      name: 'book',
      text: BOOK,
      values: [ids, received, sent, handshakes],
    });
    await databases[0].query({ name: 'over', text: OVER });
    return { ms: performance.now() - begun, moved: rowCount };
  },

  /** A small answer of Fastify alone. */
  async serve({ port }) {
    const fastify = Fastify();
    fastify.get('/api/session', () => ({ requiresPassword: true, authenticated: true }));
    await fastify.listen({ port, host: '127.0.0.1' });
  },
});

const LIST = `
  SELECT id, name, host(address) AS address, public_key, created_at, enabled AND ended_reason IS NULL AS active
    FROM clients WHERE removed_at IS NULL ORDER BY created_at, id`;
const LIST_WITH_KEYS = `
  SELECT c.name, host(c.address) AS address, c.public_key, c.private_key, c.note, c.traffic_limit_bytes, c.expires_at,
         c.created_at, c.enabled AND c.ended_reason IS NULL AS active, u.rx_total, u.tx_total, u.last_handshake_at
    FROM clients c LEFT JOIN usage_counters u ON u.subject_id = c.id
   WHERE c.removed_at IS NULL ORDER BY c.created_at, c.id`;
const BOOK = `
  UPDATE usage_counters c
     SET rx_total = c.rx_total + r.rx - c.rx_last, tx_total = c.tx_total + r.tx - c.tx_last, rx_last = r.rx,
         tx_last = r.tx, last_handshake_at = coalesce(to_timestamp(nullif(r.handshake, 0)), c.last_handshake_at)
    FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[]) AS r (id, rx, tx, handshake)
   WHERE c.subject_id = r.id AND (c.rx_last <> r.rx OR c.tx_last <> r.tx)`;
const OVER = `
  SELECT c.id FROM clients c JOIN usage_counters u ON u.subject_id = c.id
   WHERE c.traffic_limit_bytes > 0 AND c.ended_reason IS NULL AND u.rx_total + u.tx_total >= c.traffic_limit_bytes`;
const INSERT = `
  INSERT INTO clients (interface_id, name, address, public_key, private_key, preshared_key)
  VALUES ($1, $2, $3, $4, $5, $6) RETURNING id, created_at`;

async function createOne(database, device) {
  const host = nextHost++;
  const name = `bare-${host}`;
  const address = `10.0.${host >> 8}.${host & 255}`;
  const pair = generateKeyPairSync('x25519', {
    privateKeyEncoding: { type: 'pkcs8', format: 'der' },
    publicKeyEncoding: { type: 'spki', format: 'der' },
  });
  const privateKey = pair.privateKey.subarray(-32).toString('base64');
  const publicKey = pair.publicKey.subarray(-32).toString('base64');
  const presharedKey = randomBytes(32).toString('base64');
  const { rows } = await database.query({
    name: 'insert',
    text: INSERT,
    values: [server.interfaceId, name, address, publicKey, seal(KEY_LABEL, privateKey), seal(PSK_LABEL, presharedKey)],
  });
  await device.set(peerLines(publicKey, presharedKey, address));
  const configuration = `[Interface]
PrivateKey = ${privateKey}
Address = ${address}/32
DNS = 8.8.8.8
MTU = 1420

[Peer]
PublicKey = ${server.publicKey}
PresharedKey = ${presharedKey}
Endpoint = ${server.endpoint}
AllowedIPs = 0.0.0.0/0, ::/0
PersistentKeepalive = 25
`;
  const answer = {
    ...rows[0],
    name,
    address,
    publicKey,
    enabled: true,
    configuration,
    qrcodeDataURL: qr(configuration),
  };
  made.push({ id: rows[0].id, publicKey });
  return JSON.stringify(answer);
}

async function disableOne(database, device, at) {
  const { id, publicKey } = made[at];
  await database.query({ name: 'disable', text: 'UPDATE clients SET enabled = false WHERE id = $1', values: [id] });
  await device.set(`public_key=${hex(publicKey)}\nremove=true\n`);
}

async function removeOne(database, device, at) {
  const { id, publicKey } = made[at];
  await database.query({ name: 'remove', text: 'DELETE FROM clients WHERE id = $1', values: [id] });
  await device.set(`public_key=${hex(publicKey)}\nremove=true\n`);
}

async function timed(count, atOnce, one) {
  let next = 0;
  const begun = performance.now();
  const work = async (lane) => {
    while (next < count) await one(databases[lane], devices[lane], next++);
  };
  await Promise.all(Array.from({ length: atOnce }, (_, lane) => work(lane)));
  return performance.now() - begun;
}

function peerLines(publicKey, presharedKey, address) {
  return `public_key=${hex(publicKey)}\npreshared_key=${hex(presharedKey)}\nreplace_allowed_ips=true\nallowed_ip=${address}/32\n`;
}

function hex(key) {
  return Buffer.from(key, 'base64').toString('hex');
}

// Secrets as the tables hold them: version and key id (5 bytes), nonce (12), text, tag (16).
const KEY_LABEL = 'wireguard-client-key';
const PSK_LABEL = 'wireguard-preshared-key';
const keys = new Map();

function keyOf(info, bytes = 32) {
  let key = keys.get(info);
  if (key === undefined) keys.set(info, (key = Buffer.from(hkdfSync('sha256', secretKey, 'causeway', info, bytes))));
  return key;
}

function seal(label, text) {
  const header = Buffer.concat([Buffer.from([1]), keyOf('key-id', 4)]);
  const nonce = randomBytes(12);
  const cipher = createCipheriv('aes-256-gcm', keyOf(`seal:${label}`), nonce);
  cipher.setAAD(header);
  const body = cipher.update(text, 'utf8');
  cipher.final();
  return Buffer.concat([header, nonce, body, cipher.getAuthTag()]);
}

function open(label, sealed) {
  const decipher = createDecipheriv('aes-256-gcm', keyOf(`seal:${label}`), sealed.subarray(5, 17), {
    authTagLength: 16,
  });
  decipher.setAAD(sealed.subarray(0, 5));
  decipher.setAuthTag(sealed.subarray(-16));
  const text = decipher.update(sealed.subarray(17, -16), undefined, 'utf8');
  decipher.final();
  return text;
}

/** The fastest that was found: one bit a pixel, four pixels a module, four modules of quiet zone. */
function qr(text) {
  const rows = encodeQR(text, 'raw', { ecc: 'medium', encoding: 'byte', border: 1 });
  const size = (rows.length + 6) * 4;
  const stride = 1 + Math.ceil(size / 8);
  const pixels = Buffer.alloc(stride * size, 0xff);
  for (let y = 0; y < size; y += 1) pixels[y * stride] = 0;
  rows.forEach((row, y) => {
    const from = (y + 3) * 4 * stride;
    const line = pixels.subarray(from, from + stride);
    row.forEach((dark, x) => {
      // Four pixels are half a byte.
      if (dark) line[1 + ((x + 3) >> 1)] &= (x + 3) & 1 ? 0xf0 : 0x0f;
    });
    for (let copy = 1; copy < 4; copy += 1) line.copy(pixels, from + copy * stride);
  });
  const header = Buffer.alloc(13);
  header.writeUInt32BE(size, 0);
  header.writeUInt32BE(size, 4);
  header.set([1, 0, 0, 0, 0], 8);
  const png = Buffer.concat([
    Buffer.from('89504e470d0a1a0a', 'hex'),
    chunk('IHDR', header),
    chunk('IDAT', deflateSync(pixels, { level: 1 })),
    chunk('IEND', Buffer.alloc(0)),
  ]);
  return `data:image/png;base64,${png.toString('base64')}`;
}

function chunk(type, data) {
  const framed = Buffer.alloc(data.length + 12);
  framed.writeUInt32BE(data.length, 0);
  framed.write(type, 4, 'latin1');
  data.copy(framed, 8);
  framed.writeUInt32BE(crc32(framed.subarray(4, 8 + data.length)), 8 + data.length);
  return framed;
}
