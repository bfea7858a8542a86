import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { request } from '../support/http.js';
import { beginOutage } from '../support/outage.js';
import { type Server, startServer } from '../support/server.js';
import { eventually } from '../support/wait.js';

const password = 'a-good-password';
let database: TestDatabase;
let server: Server;
let token: string;

beforeAll(async () => {
  database = await createDatabase();
  server = await startServer({ namespace: false, database, env: { ADMIN_PASSWORD: password } });
  const body = { username: 'admin', password };
  token = (await request<{ access_token: string }>(server, 'POST', '/login', { body })).body.access_token;
});

afterAll(async () => {
  await server?.cleanup();
  await database?.drop();
});

describe('while the database is away', () => {
  it('each dialect says 503 in its shape, readiness says which part, and all is well after', async () => {
    const outage = await beginOutage(database);
    try {
      const login = await request(server, 'POST', '/login', { body: { username: 'admin', password } });
      expect([login.status, login.body]).toEqual([503, { detail: 'The database does not answer' }]);
      const session = await request(server, 'POST', '/api/session', { body: { password } });
      expect([session.status, session.body]).toEqual([
        503,
        { error: 'The database does not answer', code: 'UNAVAILABLE' },
      ]);
      expect((await request(server, 'GET', '/clients', { token })).status).toBe(503);
      const ready = await request<{ status: string; parts: { name: string; state: string }[] }>(
        server,
        'GET',
        '/readyz',
      );
      expect([ready.status, ready.body.status]).toEqual([503, 'unready']);
      expect(ready.body.parts.find(({ name }) => name === 'database')?.state).toBe('down');
      expect((await request(server, 'GET', '/healthz')).status).toBe(200);
      expect((await request(server, 'GET', '/api/ping')).status).toBe(200);
    } finally {
      await outage.end();
    }
    await eventually(async () => (await request(server, 'GET', '/clients', { token })).status === 200);
    await eventually(async () => (await request(server, 'GET', '/readyz')).status === 200, { timeoutMs: 30_000 });
    expect(server.running).toBe(true);
  });
});
