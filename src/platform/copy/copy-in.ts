import type { ClientBase, Connection, Submittable } from 'pg';

/** What pg's connection can do beside what its types say. */
interface CopyConnection extends Connection {
  sendCopyFromChunk(chunk: Buffer): void;
  endCopyFrom(): void;
  sendCopyFail(reason: string): void;
}

/**
 * Runs `COPY … FROM STDIN` with the bytes of `source`, no faster than the server takes them. Rejects with what the
 * source threw, or with what the server said; the transaction can then only be rolled back.
 */
export function copyIn(client: ClientBase, sql: string, source: AsyncIterable<Buffer>): Promise<void> {
  return new Promise((resolve, reject) => {
    client.query(new CopyIn(sql, source, (error) => (error ? reject(error) : resolve())));
  });
}

class CopyIn implements Submittable {
  private cause: Error | null = null;
  private over = false;

  constructor(
    private readonly sql: string,
    private readonly source: AsyncIterable<Buffer>,
    private readonly done: (error: Error | null) => void,
  ) {}

  submit(connection: Connection): void {
    connection.query(this.sql);
  }

  handleCopyInResponse(connection: CopyConnection): void {
    void this.feed(connection);
  }

  handleCommandComplete(): void {}

  handleReadyForQuery(): void {
    this.over = true;
    this.done(null);
  }

  handleError(error: Error): void {
    this.over = true;
    this.done(this.cause ?? error);
  }

  private async feed(connection: CopyConnection): Promise<void> {
    try {
      for await (const chunk of this.source) {
        if (this.over) return;
        connection.sendCopyFromChunk(chunk);
        if (connection.stream.writableNeedDrain) await drained(connection);
      }
      connection.endCopyFrom();
    } catch (error) {
      this.cause = error instanceof Error ? error : new Error(String(error));
      if (!this.over) connection.sendCopyFail('The source failed');
    }
  }
}

/** A connection that ends meanwhile will not drain any more. */
function drained({ stream }: Connection): Promise<void> {
  return new Promise((resolve) => {
    const go = (): void => {
      stream.off('drain', go).off('close', go);
      resolve();
    };
    stream.on('drain', go).on('close', go);
  });
}
