// Works beside the server: sends requests over kept connections and watches the device. Written for little work of its
// own, since it shares the processors with what it measures.
import { connect } from 'node:net';
import { serveWorker } from './hosts.mjs';
import { UapiConnection } from './uapi.mjs';

const HEAD_END = Buffer.from('\r\n\r\n');
const connections = [];

serveWorker({
  /** All requests, `atOnce` at a time; each must answer with 2xx. Gives the milliseconds of the whole, and the bodies. */
  async send({ port, token, requests, atOnce, keep = 'nothing' }) {
    while (connections.length < atOnce) connections.push(new Connection(port));
    const texts = requests.map((request) => render(request, token));
    const bodies = [];
    const answeredAt = [];
    let next = 0;
    const begun = performance.now();
    const work = async (connection) => {
      while (next < texts.length) {
        const at = next++;
        const { status, body } = await connection.exchange(texts[at]);
        answeredAt[at] = performance.timeOrigin + performance.now();
        if (status < 200 || status > 299) {
          throw new Error(`${requests[at].method} ${requests[at].path} answered ${status}: ${body.toString()}`);
        }
        bodies[at] = body;
      }
    };
    await Promise.all(connections.slice(0, atOnce).map(work));
    const ms = performance.now() - begun;
    const bytes = bodies.reduce((sum, body) => sum + body.length, 0);
    const kept = keep === 'bodies' ? bodies.map((body) => JSON.parse(body.toString() || 'null')) : [];
    return { ms, bytes, bodies: kept, answeredAt: keep === 'times' ? answeredAt : [] };
  },

  /** Reads the device again and again: when each of the peers (hex keys) was first seen to be gone. */
  async watchLeaving({ device, keys, limitMs }) {
    const uapi = new UapiConnection(device);
    const left = new Set(keys);
    const goneAt = {};
    for (const until = performance.now() + limitMs; left.size > 0 && performance.now() < until;) {
      const present = await uapi.peers();
      const now = performance.timeOrigin + performance.now();
      for (const key of left) {
        if (present.has(key)) continue;
        goneAt[key] = now;
        left.delete(key);
      }
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    uapi.close();
    return goneAt;
  },

  /** Asks until the server says that this part is up. */
  async whenUp({ port, part, limitMs }) {
    for (const until = performance.now() + limitMs; performance.now() < until;) {
      const connection = new Connection(port);
      const answer = await connection.exchange(render({ method: 'GET', path: '/readyz' }, null)).catch(() => null);
      connection.socket?.destroy();
      const parts = answer === null ? [] : (JSON.parse(answer.body.toString()).parts ?? []);
      if (parts.some(({ name, state }) => name.startsWith(part) && state === 'up')) return;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    throw new Error(`${part} was not up within ${limitMs} ms`);
  },

  async countPeers({ device }) {
    const uapi = new UapiConnection(device);
    const { size } = await uapi.peers().catch(() => new Set());
    uapi.close();
    return size;
  },
});

function render({ method, path, body }, token) {
  const payload = body === undefined ? '' : JSON.stringify(body);
  const type = body === undefined ? '' : 'content-type: application/json\r\n';
  const bearer = token === null ? '' : `authorization: Bearer ${token}\r\n`;
  return (
    `${method} ${path} HTTP/1.1\r\nhost: 127.0.0.1\r\n${bearer}${type}` +
    `content-length: ${Buffer.byteLength(payload)}\r\n\r\n${payload}`
  );
}

/** One request after the other on one connection. Answers must have a length. */
class Connection {
  constructor(port) {
    this.port = port;
    this.open();
  }

  open() {
    const socket = connect(this.port, '127.0.0.1');
    socket.setNoDelay(true);
    socket.on('data', (chunk) => this.read(chunk));
    // The server may have been started again meanwhile.
    socket.on('close', () => {
      if (this.socket === socket) this.socket = null;
      this.fail?.(new Error('The server ended the connection'));
    });
    socket.on('error', () => {});
    this.socket = socket;
  }

  exchange(text) {
    if (this.socket === null) this.open();
    return new Promise((resolve, reject) => {
      this.chunks = [];
      this.have = 0;
      this.need = -1;
      this.done = resolve;
      this.fail = reject;
      this.socket.write(text);
    });
  }

  read(chunk) {
    this.chunks.push(chunk);
    this.have += chunk.length;
    if (this.need < 0) {
      const all = this.chunks.length === 1 ? chunk : Buffer.concat(this.chunks);
      const headEnd = all.indexOf(HEAD_END);
      this.chunks = [all];
      if (headEnd < 0) return;
      const head = all.latin1Slice(0, headEnd);
      this.status = Number(head.slice(9, 12));
      this.start = headEnd + 4;
      this.need = this.start + Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? 0);
    }
    if (this.have < this.need) return;
    const all = this.chunks.length === 1 ? this.chunks[0] : Buffer.concat(this.chunks);
    const { done, status } = this;
    this.fail = null;
    done({ status, body: all.subarray(this.start, this.need) });
  }
}
