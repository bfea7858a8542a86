import { once } from 'node:events';
import { request as begin } from 'node:http';
import { createServer } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { request } from '../../support/http.js';
import { Server, startServer } from '../../support/server.js';
import { eventually } from '../../support/wait.js';

let server: Server | undefined;

afterEach(async () => {
  await server?.cleanup();
  server = undefined;
});

/** Starts it and returns what it printed instead of coming up. */
async function refusal(env: Record<string, string>): Promise<string> {
  server ??= await Server.prepare({ namespace: false });
  Object.assign(server.env, env);
  const before = server.logs().length;
  await expect(server.start()).rejects.toThrow('ended with exit code 1');
  return server
    .logs()
    .slice(before)
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('{'))
    .join('\n');
}

describe('a start that cannot be', () => {
  it('names all faults of the configuration at once, without a stack', async () => {
    const told = await refusal({ PORT: 'x', ROLE: 'boss', RATE_LIMITS: 'many' });
    expect(told).toMatch(/3 faults/);
    for (const name of ['PORT', 'ROLE', 'RATE_LIMITS']) expect(told).toContain(`  ${name} `);
    expect(told).not.toMatch(/^\s+at /m);
  });

  it('says in one line that the port is taken', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const { port } = other.address() as { port: number };
    const told = await refusal({ PORT: String(port), HOST: '127.0.0.1' });
    other.close();
    expect(told.split('\n').at(-1)).toBe(`127.0.0.1:${port} is in use by another program: stop it or set PORT`);
    expect(told).not.toMatch(/^\s+at /m);
  });

  it('says in one line that the secret key is not the one of the database', async () => {
    server = await startServer({ namespace: false });
    await server.stop();
    const told = await refusal({ SECRET_KEY: 'another-key-of-at-least-32-characters' });
    expect(told).toMatch(/^SECRET_KEY is not the key that this database was made with[^\n]*$/);
  });
});

describe('a start', () => {
  it('ends with a few lines for a person, and shows the recovery phrase the first time only', async () => {
    server = await startServer({ namespace: false });
    await eventually(() => server?.logs().includes('Next: '));
    const first = server.logs();
    expect(first).toMatch(/Recovery phrase/);
    expect(first).toContain('Causeway runs at http://');
    expect(first).toContain('wireguard is absent: ');
    expect(first).toMatch(/Swagger UI: http:\/\/\S+\/docs/);
    expect(first).toMatch(/Next: POST \S+\/install makes the first admin and wg0/);
    await server.restart({ ADMIN_PASSWORD: 'a-good-password' });
    await eventually(() => server!.logs().slice(first.length).includes('Next: '));
    expect(server.logs().slice(first.length)).not.toMatch(/Recovery phrase/);
    expect(server.logs()).not.toContain('a-good-password');
  });

  it('tells the set-up token when anybody could reach an open installation', async () => {
    server = await startServer({ namespace: false, env: { HOST: '0.0.0.0' } });
    await eventually(() => server?.logs().includes('X-Setup-Token: '));
    await server.restart({ SETUP_TOKEN: 'a-token-of-my-own' });
    await eventually(() => server?.logs().includes('X-Setup-Token: the value of SETUP_TOKEN'));
    expect(server.logs()).not.toContain('a-token-of-my-own');
  });
});

describe('a stop', () => {
  it('lets a request that is under way end, and ends with success', async () => {
    server = await startServer({ namespace: false, env: { ADMIN_PASSWORD: 'a-good-password' } });
    const body = JSON.stringify({ username: 'admin', password: 'a-good-password' });
    const { hostname, port } = new URL(server.url);
    const slow = begin({
      hostname,
      port,
      method: 'POST',
      path: '/login',
      headers: { 'content-type': 'application/json', 'content-length': body.length },
    });
    slow.write(body.slice(0, 5));
    // The server answers another request, so it has seen the first one.
    await request(server, 'GET', '/healthz');
    const stopped = server.stop();
    await eventually(() => server?.logs().includes('Server stops'));
    slow.end(body.slice(5));
    const [answer] = (await once(slow, 'response')) as [{ statusCode: number; headers: Record<string, string> }];
    expect(answer.statusCode).toBe(200);
    expect(answer.headers['connection']).toBe('close');
    expect(await stopped).toBe(0);
    await expect(request(server, 'GET', '/healthz')).rejects.toThrow();
  });
});

describe('a worker', () => {
  it('serves health and metrics, and no dialect', async () => {
    server = await startServer({ namespace: false, env: { ROLE: 'worker' } });
    for (const path of ['/healthz', '/readyz', '/metrics']) {
      expect((await request(server, 'GET', path)).status).toBe(200);
    }
    for (const path of ['/clients', '/api/ping', '/docs', '/openapi.json']) {
      const answer = await request(server, 'GET', path);
      expect([answer.status, answer.body]).toEqual([404, { detail: 'Not Found' }]);
    }
  });
});
