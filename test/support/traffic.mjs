// Bytes over TCP, to measure a tunnel from inside a namespace: `serve <address>` prints its port and serves until killed,
// `download|upload <address> <port> <bytes> <ms> [<bytes a second>]` prints {"bytes","ms","complete"}, also when it is cut
// off or told to end (SIGTERM). A client sends verb, count and a newline, and gets the bytes, or a newline for its own.
import { connect, createServer } from 'node:net';
import { performance } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';

const block = Buffer.alloc(64 * 1024, 0x5a);

/** Sends `bytes` bytes, never buffering more than the socket takes. */
function pour(socket, bytes) {
  let left = bytes;
  const more = () => {
    while (left > 0) {
      const part = left < block.length ? block.subarray(0, left) : block;
      left -= part.length;
      if (!socket.write(part)) return;
    }
    socket.off('drain', more);
  };
  socket.on('drain', more);
  more();
}

/** A server for both directions; `listen` it where it shall be. */
export function trafficServer() {
  return createServer((socket) => {
    let head = '';
    let expected = null;
    let taken = 0;
    socket.on('error', () => socket.destroy());
    socket.on('data', (chunk) => {
      let length = chunk.length;
      if (expected === null) {
        head += chunk.toString('latin1');
        const end = head.indexOf('\n');
        if (end < 0) return;
        const [verb, count] = head.slice(0, end).split(' ');
        length = head.length - end - 1;
        if (verb === 'download') {
          expected = Number.POSITIVE_INFINITY;
          pour(socket, Number(count));
          return;
        }
        expected = Number(count);
      }
      taken += length;
      if (taken >= expected) socket.end('\n');
    });
  });
}

/** `rate` is the most that a download takes, in bytes a second; 0 is as fast as it comes. */
function transfer(verb, host, port, bytes, timeoutMs, rate) {
  return new Promise((resolve) => {
    const began = performance.now();
    const socket = connect({ host, port });
    let received = 0;
    const finish = (complete) => {
      clearTimeout(timer);
      const moved =
        verb === 'download' ? received : complete ? bytes : Math.max(0, socket.bytesWritten - socket.writableLength);
      socket.destroy();
      resolve({ bytes: moved, ms: Math.round(performance.now() - began), complete });
    };
    const timer = setTimeout(() => finish(false), timeoutMs);
    process.once('SIGTERM', () => finish(false));
    socket.once('error', () => finish(false));
    socket.once('close', () => finish(false));
    socket.once('connect', () => {
      socket.write(`${verb} ${bytes}\n`);
      if (verb === 'upload') pour(socket, bytes);
    });
    socket.on('data', (chunk) => {
      received += chunk.length;
      if (verb === 'upload' || received >= bytes) return finish(true);
      const aheadMs = rate > 0 ? (received / rate) * 1000 - (performance.now() - began) : 0;
      if (aheadMs > 10) {
        socket.pause();
        setTimeout(() => socket.resume(), aheadMs);
      }
    });
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [verb, host, port, bytes, timeoutMs, rate = 0] = process.argv.slice(2);
  if (verb === 'serve') {
    const server = trafficServer().listen({ host, port: 0 }, () => console.log(server.address().port));
  } else {
    console.log(
      JSON.stringify(await transfer(verb, host, Number(port), Number(bytes), Number(timeoutMs), Number(rate))),
    );
  }
}
