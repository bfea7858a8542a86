import { type ChildProcess, spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { rmSync, writeFileSync } from 'node:fs';
import { type Server, createServer as createHttpServer } from 'node:http';
import { type AddressInfo, type Socket, connect, createServer, isIPv6 } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually } from './wait.js';

/** Datagrams through a proxy. */
export interface ProxyDatagrams {
  /** Whether an echo of the text came back in time. */
  ask(host: string, port: number, text: string, timeoutMs: number): Promise<boolean>;
  close(): void;
}

/** A TCP port that nobody has just now. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** A real client of a proxy engine: a program with a SOCKS port before an outbound. */
export class ProxyClient {
  private constructor(
    private readonly child: ChildProcess,
    readonly port: number,
  ) {}

  /** `program` is an Xray or V2Ray; `outbound` as their configs have it. */
  static async start(program: string, outbound: object): Promise<ProxyClient> {
    const port = await freePort();
    const path = join(tmpdir(), `proxy-client-${process.pid}-${port}.json`);
    const socks = {
      listen: '127.0.0.1',
      port,
      protocol: 'socks',
      settings: { auth: 'noauth', udp: true, ip: '127.0.0.1' },
    };
    const config = { log: { loglevel: 'none', access: 'none' }, inbounds: [socks], outbounds: [outbound] };
    writeFileSync(path, JSON.stringify(config));
    const child = spawn(program, ['-config', path], { stdio: 'ignore' });
    try {
      await eventually(() => accepts(port), { intervalMs: 10, what: 'the SOCKS port of the client' });
    } catch (error) {
      child.kill('SIGKILL');
      throw error;
    } finally {
      rmSync(path);
    }
    return new ProxyClient(child, port);
  }

  /** Opens a connection through the proxy. The client always says yes: whether anybody is there shows later. */
  async connect(host: string, port: number): Promise<Socket> {
    const socket = connect(this.port, '127.0.0.1');
    // What the proxy cuts is seen by who reads.
    socket.on('error', () => {});
    socket.write(Uint8Array.of(5, 1, 0));
    await read(socket, 2);
    const name = Buffer.from(host);
    const request = [5, 1, 0, ...address(host, name), port >> 8, port & 255];
    socket.write(Uint8Array.from(request));
    const answer = await read(socket, 10);
    if (answer[1] !== 0) throw new Error(`The client refuses ${host}: ${answer[1]}`);
    return socket;
  }

  /** Downloads from a ByteServer; the count of bytes that came, 0 when the proxy closed or did not answer in time. */
  async download(host: string, port: number, bytes: number, timeoutMs = 10_000): Promise<number> {
    const socket = await this.connect(host, port);
    let got = 0;
    let head = '';
    socket.on('data', (chunk: Buffer) => {
      if (head.includes('\r\n\r\n')) got += chunk.length;
      else {
        head += chunk.toString('latin1');
        const end = head.indexOf('\r\n\r\n');
        if (end >= 0) got += head.length - end - 4;
      }
      // Engines take seconds to pass the end of a connection on.
      if (got >= bytes) socket.destroy();
    });
    socket.setTimeout(timeoutMs, () => socket.destroy());
    socket.write(`GET /${bytes} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n`);
    if (!socket.closed) await once(socket, 'close');
    return got;
  }

  /** Opens a way for datagrams through the proxy: one source towards all destinations. */
  async associate(): Promise<ProxyDatagrams> {
    const control = connect(this.port, '127.0.0.1');
    control.on('error', () => {});
    control.write(Uint8Array.of(5, 1, 0));
    await read(control, 2);
    control.write(Uint8Array.of(5, 3, 0, 1, 0, 0, 0, 0, 0, 0));
    const relayPort = (await read(control, 10)).readUInt16BE(8);
    const socket = createSocket('udp4');
    return {
      ask: async (host, port, text, timeoutMs) => {
        const head = Uint8Array.from([0, 0, 0, ...address(host, Buffer.from(host)), port >> 8, port & 255]);
        const answered = once(socket, 'message', { signal: AbortSignal.timeout(timeoutMs) });
        socket.send(Buffer.concat([head, Buffer.from(text)]), relayPort, '127.0.0.1');
        return answered.then(
          ([message]) => (message as Buffer).toString('latin1').endsWith(text),
          () => false,
        );
      },
      close: () => {
        socket.close();
        control.destroy();
      },
    };
  }

  async stop(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const ended = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await ended;
  }
}

/** `GET /<n>` gives n bytes. */
export async function startByteServer(host: string): Promise<{ port: number; server: Server }> {
  const block = Buffer.alloc(64 * 1024, 0x5a);
  const server = createHttpServer((request, response) => {
    let left = Number(request.url!.slice(1));
    response.writeHead(200, { 'content-length': left });
    const more = (): void => {
      while (left > 0) {
        const piece = block.subarray(0, Math.min(left, block.length));
        left -= piece.length;
        if (!response.write(piece)) return void response.once('drain', more);
      }
      response.end();
    };
    more();
  });
  server.listen(0, host);
  await once(server, 'listening');
  return { port: (server.address() as AddressInfo).port, server };
}

function address(host: string, name: Buffer): number[] {
  if (/^\d+\.\d+\.\d+\.\d+$/.test(host)) return [1, ...host.split('.').map(Number)];
  if (isIPv6(host)) {
    const [left = '', right = ''] = host.split('::');
    const words = (text: string): number[] =>
      text
        .split(':')
        .filter(Boolean)
        .map((word) => parseInt(word, 16));
    const [first, last] = [words(left), words(right)];
    const all = [...first, ...Array<number>(8 - first.length - last.length).fill(0), ...last];
    return [4, ...all.flatMap((word) => [word >> 8, word & 255])];
  }
  return [3, name.length, ...name];
}

function read(socket: Socket, length: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const look = (): void => {
      const data = socket.read(length) as Buffer | null;
      if (data === null) return;
      done();
      resolve(data);
    };
    const closed = (): void => {
      done();
      reject(new Error('The client closed the connection'));
    };
    const done = (): void => {
      socket.off('readable', look);
      socket.off('close', closed);
    };
    socket.on('readable', look);
    socket.on('close', closed);
    look();
  });
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('error', () => resolve(false));
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
  });
}
