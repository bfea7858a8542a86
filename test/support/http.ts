import { request as send, type IncomingHttpHeaders } from 'node:http';

export interface RequestOptions {
  /** Sent as `Authorization: Bearer <token>`. */
  token?: string;
  /** A string or bytes go out as they are; anything else as JSON. */
  body?: unknown;
  headers?: Record<string, string>;
  /** 30 s unless told. */
  timeoutMs?: number;
}

export interface Answer<T = unknown> {
  status: number;
  headers: IncomingHttpHeaders;
  /** Parsed when the answer calls itself JSON, else its text. */
  body: T;
  text: string;
  bytes: Buffer;
}

/** One request on a connection of its own. No redirect is followed and the path is sent as it is. */
export function request<T = unknown>(
  server: { readonly url: string },
  method: string,
  path: string,
  options: RequestOptions = {},
): Promise<Answer<T>> {
  const { hostname, port } = new URL(server.url);
  const raw = typeof options.body === 'string' || Buffer.isBuffer(options.body);
  const payload =
    options.body === undefined ? undefined : raw ? (options.body as string | Buffer) : JSON.stringify(options.body);
  const headers: Record<string, string> = {
    ...(payload === undefined ? {} : { 'content-length': String(Buffer.byteLength(payload)) }),
    ...(payload === undefined ? {} : { 'content-type': 'application/json' }),
    ...(options.token === undefined ? {} : { authorization: `Bearer ${options.token}` }),
    ...Object.fromEntries(Object.entries(options.headers ?? {}).map(([name, value]) => [name.toLowerCase(), value])),
  };
  return new Promise((resolve, reject) => {
    const signal = AbortSignal.timeout(options.timeoutMs ?? 30_000);
    const outgoing = send({ hostname, port, method, path, headers, agent: false, signal }, (incoming) => {
      const chunks: Buffer[] = [];
      incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
      incoming.once('error', reject);
      incoming.once('end', () => {
        const bytes = Buffer.concat(chunks);
        const text = bytes.toString('utf8');
        const isJson = /\bjson\b/.test(incoming.headers['content-type'] ?? '') && text !== '';
        try {
          const body = (isJson ? JSON.parse(text) : text) as T;
          resolve({ status: incoming.statusCode ?? 0, headers: incoming.headers, body, text, bytes });
        } catch (error) {
          reject(new Error(`${method} ${path} answered broken JSON: ${text.slice(0, 500)}`, { cause: error }));
        }
      });
    });
    outgoing.once('error', reject);
    outgoing.end(payload);
  });
}
