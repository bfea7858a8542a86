import type { ClientBase, Connection, Submittable } from 'pg';

/** Bytes that wait for the reader before the socket is held back. */
const HIGH_WATER = 256 * 1024;

/**
 * Runs `COPY … TO STDOUT` and gives its output in blocks of whole rows, as fast as they are taken. The connection is for
 * this alone meanwhile; a reader that stops half-way ends it, since COPY cannot be left in any other way.
 */
export async function* copyOut(client: ClientBase, sql: string): AsyncGenerator<Buffer> {
  const copy = client.query(new CopyOut(sql));
  try {
    for (let block = await copy.next(); block !== null; block = await copy.next()) yield block;
  } finally {
    copy.abandon();
  }
}

class CopyOut implements Submittable {
  private connection: Connection | null = null;
  private rows: Buffer[] = [];
  private waiting = 0;
  private ended = false;
  private failure: Error | null = null;
  private wake: (() => void) | null = null;

  constructor(private readonly sql: string) {}

  /** The rows that came since the last call; null at the end. */
  async next(): Promise<Buffer | null> {
    for (;;) {
      if (this.failure) throw this.failure;
      if (this.rows.length > 0) {
        const block = Buffer.concat(this.rows);
        this.rows = [];
        this.waiting = 0;
        this.connection?.stream.resume();
        return block;
      }
      if (this.ended) return null;
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
  }

  abandon(): void {
    if (!this.ended && !this.failure) this.connection?.stream.destroy();
  }

  submit(connection: Connection): void {
    this.connection = connection;
    connection.query(this.sql);
  }

  handleCopyData({ chunk }: { chunk: Buffer }): void {
    // pg uses the memory behind the chunk again.
    this.rows.push(Buffer.from(chunk));
    this.waiting += chunk.length;
    if (this.waiting > HIGH_WATER) this.connection?.stream.pause();
    this.tell();
  }

  handleCommandComplete(): void {}

  handleReadyForQuery(): void {
    this.ended = true;
    this.tell();
  }

  handleError(error: Error): void {
    this.failure = error;
    this.tell();
  }

  private tell(): void {
    this.wake?.();
    this.wake = null;
  }
}
