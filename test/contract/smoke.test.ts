import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { request } from '../support/http.js';
import { type Server, startServer } from '../support/server.js';

describe('a server', () => {
  let server: Server;

  beforeAll(async () => {
    server = await startServer();
  });

  afterAll(async () => {
    await server?.cleanup();
  });

  it('answers that it is alive', async () => {
    const answer = await request(server, 'GET', '/healthz');
    expect(answer.status).toBe(200);
  });

  it('ends by itself on SIGTERM, and starts again on the same data', async () => {
    expect(await server.stop()).toBe(0);
    await server.start();
    expect((await request(server, 'GET', '/healthz')).status).toBe(200);
  });

  it('starts again after it was killed', async () => {
    await server.kill9();
    await server.start();
    expect((await request(server, 'GET', '/healthz')).status).toBe(200);
  });
});
