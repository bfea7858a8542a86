import { type Socket, connect } from 'node:net';
import { join } from 'node:path';
import { TunnelRefusedError, TunnelUnavailableError } from '../../domain/tunnels/tunnel.port.js';
import { UapiAnswer } from './uapi.format.js';

export const SOCKET_FOLDER = '/var/run/wireguard';
const DEFAULT_IDLE_MS = 5_000;
/** However slowly an answer trickles in, a call ends. */
const TOTAL_MS = 30_000;

/** The device's process did not answer in time: it hangs, or is stopped. */
export class UapiSilentError extends TunnelUnavailableError {}

/** Nothing listens on the device's socket: it is not there, or its process is gone. */
export class UapiAbsentError extends TunnelUnavailableError {}

/** An answer with an error number, as wireguard-go and the kernel number them. */
const REFUSALS: Record<number, string> = {
  [-98]: 'its port is in use',
  [-22]: 'it does not accept a value',
  [-13]: 'permission denied',
};

export function socketPath(name: string): string {
  return join(SOCKET_FOLDER, `${name}.sock`);
}

interface Exchange {
  request: string;
  answer: UapiAnswer;
  headOnly: boolean;
  resolve: (answer: UapiAnswer) => void;
  reject: (error: Error) => void;
}

/**
 * Speaks to one wireguard-go, one exchange after the other. The connection is kept: a new one for each would double the
 * time of a small change. It ends with the process behind it, and the next exchange makes a new one; nothing is said
 * twice, since by then another device may go by that name.
 */
export class UapiClient {
  private readonly waiting: Exchange[] = [];
  private running = false;
  private socket: Socket | null = null;
  private closed = false;

  constructor(
    private readonly name: string,
    private readonly idleMs = DEFAULT_IDLE_MS,
    private readonly path = socketPath(name),
  ) {}

  /** The whole device. `headOnly` ends after the lines of the device itself and leaves `peers` incomplete. */
  get(headOnly = false): Promise<UapiAnswer> {
    return this.exchange('get=1\n\n', headOnly);
  }

  /** Lines without `set=1` and without the blank line at the end. Throws TunnelRefusedError by the answer's number. */
  async set(lines: string): Promise<void> {
    await this.exchange(`set=1\n${lines}\n`, false);
  }

  /** For good: what is under way fails, and no connection is kept any more. */
  close(): void {
    this.closed = true;
    this.socket?.destroy();
    this.socket = null;
  }

  private exchange(request: string, headOnly: boolean): Promise<UapiAnswer> {
    return new Promise((resolve, reject) => {
      this.waiting.push({ request, answer: new UapiAnswer(), headOnly, resolve, reject });
      if (!this.running) void this.work();
    });
  }

  private async work(): Promise<void> {
    this.running = true;
    for (let next = this.waiting.shift(); next !== undefined; next = this.waiting.shift()) {
      try {
        next.resolve(await this.perform(next));
      } catch (error) {
        next.reject(error as Error);
      }
    }
    this.running = false;
  }

  private async perform(exchange: Exchange): Promise<UapiAnswer> {
    const answer = await this.once(exchange);
    const errno = answer.errno ?? 0;
    if (errno === 0) return answer;
    const refusal = REFUSALS[errno];
    if (refusal !== undefined) throw new TunnelRefusedError(`The device ${this.name} refused: ${refusal}`);
    throw new TunnelUnavailableError(`The device ${this.name} failed with error ${errno}`);
  }

  private once({ request, answer, headOnly }: Exchange): Promise<UapiAnswer> {
    return new Promise((resolve, reject) => {
      const socket = this.socket ?? this.open();
      const finish = (error: Error | null, keep: boolean): void => {
        clearTimeout(idle);
        clearTimeout(total);
        socket.off('data', onData).off('error', onError).off('close', onClose).off('drain', onProgress);
        if (keep && !this.closed) {
          // Waiting for the next exchange, it keeps no process alive and ends quietly.
          socket.unref();
        } else {
          socket.destroy();
          if (this.socket === socket) this.socket = null;
        }
        if (error) reject(error);
        else resolve(answer);
      };
      const silent = (): void =>
        finish(new UapiSilentError(`The process of the device ${this.name} does not answer`), false);
      const idle = setTimeout(silent, this.idleMs);
      const total = setTimeout(silent, TOTAL_MS);
      const onProgress = (): void => void idle.refresh();
      const onData = (chunk: Buffer): void => {
        idle.refresh();
        answer.push(chunk);
        if (answer.overrun) {
          finish(new TunnelUnavailableError(`The device ${this.name} gave an answer that makes no sense`), false);
        } else if (answer.errno !== null) {
          finish(null, true);
        } else if (headOnly && answer.headEnded) {
          finish(null, false);
        }
      };
      const onError = (error: NodeJS.ErrnoException): void => finish(this.connectionError(error), false);
      const onClose = (): void =>
        finish(new TunnelUnavailableError(`The process of the device ${this.name} ended the connection`), false);

      socket.ref();
      socket.on('data', onData).on('error', onError).on('close', onClose).on('drain', onProgress);
      socket.write(request);
    });
  }

  private open(): Socket {
    const socket = connect({ path: this.path });
    // A kept connection that ends between two exchanges is no one's failure.
    socket.on('error', () => {});
    socket.on('close', () => {
      if (this.socket === socket) this.socket = null;
    });
    this.socket = socket;
    return socket;
  }

  private connectionError(error: NodeJS.ErrnoException): Error {
    if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED') {
      return new UapiAbsentError(`No process answers for the device ${this.name}`);
    }
    return new TunnelUnavailableError(`The device ${this.name} cannot be reached: ${error.code ?? 'unknown error'}`);
  }
}
