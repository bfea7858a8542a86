import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { runCommand } from '../support/command.js';
import { install, logIn } from '../support/installed.js';
import { request } from '../support/http.js';
import { runFact } from '../support/run.js';
import { type Server, type ServerOptions, startServer } from '../support/server.js';

const apiToken = 'a-token-of-sixteen-or-more';
let server: Server;

afterEach(() => server.cleanup());

async function start(options: ServerOptions): Promise<void> {
  server = await startServer(options);
}

/** The command as an operator runs it, with the environment of the server and these variables. */
function rotate(env: Record<string, string> = {}): ReturnType<typeof runCommand> {
  const variables = Object.entries({ ...server.env, ...env }).map(([name, value]) => `${name}=${value}`);
  const cli = join(runFact('CAUSEWAY_TEST_PRODUCT'), 'dist/cli/main.js');
  return server.exec(['env', '-i', ...variables, process.execPath, cli, 'rotate-key'], { timeoutMs: 60_000 });
}

async function fill(): Promise<{ config: string }> {
  const panel = await install(server);
  const config = await panel.create('alice');
  expect((await panel.call('POST', '/api-tokens', { name: 'bot', token: apiToken })).status).toBe(200);
  return { config };
}

async function expectEverything({ config }: { config: string }): Promise<void> {
  const panel = await logIn(server);
  const answer = await panel.call<{ data: { config: string } }>('GET', '/clients/alice/config');
  expect(answer.body.data.config).toBe(config);
  expect((await request(server, 'GET', '/clients', { token: apiToken })).status).toBe(200);
  expect((await server.exec(['wg', 'show', 'wg0', 'peers'])).stdout.trim()).not.toBe('');
}

describe('npm run rotate-key', () => {
  it('makes a new secret.key, and everything sealed opens with it alone', async () => {
    await start({ embedded: true, env: { SECRET_KEY: '' } });
    const before = await fill();
    const path = `${server.dataDir}/secret.key`;
    const old = (await server.exec(['cat', path])).stdout;

    expect((await rotate()).code).toBe(1);
    expect((await server.exec(['cat', path])).stdout).toBe(old);

    await server.stop();
    const done = await rotate();
    expect(done.code, done.stderr).toBe(0);
    expect((await server.exec(['cat', path])).stdout).not.toBe(old);
    expect((await server.exec(['ls', server.dataDir])).stdout).not.toContain('previous');
    await server.start();
    await expectEverything(before);
  });

  it('goes from SECRET_KEY_PREVIOUS to SECRET_KEY, after which the old key no longer starts the server', async () => {
    await start({});
    const before = await fill();
    await server.stop();
    const old = server.env['SECRET_KEY']!;
    const fresh = randomBytes(32).toString('hex');
    expect((await rotate()).code).toBe(2);
    const done = await rotate({ SECRET_KEY: fresh, SECRET_KEY_PREVIOUS: old });
    expect(done.code, done.stderr).toBe(0);

    await server.restart({ SECRET_KEY: fresh });
    await expectEverything(before);
    await server.stop();
    await expect(server.restart({ SECRET_KEY: old })).rejects.toThrow(/SECRET_KEY/);
  });
});
