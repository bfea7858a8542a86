import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { request } from '../../support/http.js';
import { Server, startServer } from '../../support/server.js';
import { adminPassword, done, type InterfaceRecord, Panel, setupToken } from './panel.js';

describe('installing', () => {
  let server: Server;
  let panel: Panel;

  beforeAll(async () => {
    server = await startServer({ env: { SETUP_TOKEN: setupToken } });
    panel = new Panel(server);
  });

  afterAll(async () => {
    await server?.cleanup();
  });

  it('has not happened on a new server, where nobody can log in', async () => {
    expect((await panel.call('GET', '/check')).body).toEqual({ installed: false });
    const login = await panel.call('POST', '/login', { username: 'admin', password: 'admin' });
    expect(login).toMatchObject({ status: 401, body: { detail: 'Wrong username or password!' } });
  });

  it('needs an IP address', async () => {
    for (const server_ip of ['example.org', '256.1.1.1', '1.2.3', '', '10.0.0.0/8', '1.1.1.1; reboot']) {
      const answer = await panel.install({ server_ip });
      expect(answer, server_ip).toMatchObject({ status: 400, body: { detail: 'IP INCORRECT' } });
    }
  });

  it('names all fields that are wrong in one text', async () => {
    const answer = await panel.install({ server_ip: 5, wg_port: '70000', wg_dns: ['1.1.1.1'], admin_user: '' });
    expect(answer.status).toBe(400);
    const { detail } = answer.body as { detail: string };
    for (const field of ['server_ip', 'wg_port', 'wg_dns', 'admin_user']) expect(detail).toContain(field);
    expect(detail).not.toContain('admin_password');
  });

  it('refuses a range, a port, a DNS server and a name that cannot be', async () => {
    for (const body of [
      { wg_address_range: '10.0.0.0/24' },
      { wg_address_range: '10.0.0.1/33' },
      { wg_address_range: '10.0.0.1' },
      { wg_address_range: 'fd00::1/64' },
      { wg_port: 0 },
      { wg_port: 'fast' },
      { wg_dns: '8.8.8.8\nPostUp = reboot' },
      { wg_dns: 'nonsense!' },
      { admin_user: 'a\nb' },
    ]) {
      const answer = await panel.install(body);
      expect(answer, JSON.stringify(body)).toMatchObject({ status: 400, body: { detail: expect.any(String) } });
    }
    expect((await panel.call('GET', '/check')).body).toEqual({ installed: false });
  });

  it('refuses a weak password, the documented default included', async () => {
    for (const admin_password of ['admin', '1234567', undefined]) {
      const answer = await panel.install({ admin_password });
      expect(answer.status).toBe(400);
      expect((answer.body as { detail: string }).detail).toMatch(/password/);
    }
  });

  it('asks callers from public addresses for the set-up token', async () => {
    const attempts: Record<string, string>[] = [{}, { 'x-setup-token': 'wrong' }];
    for (const headers of attempts) {
      const answer = await panel.install({}, { headers });
      expect(answer).toMatchObject({ status: 403, body: { detail: expect.stringContaining('X-Setup-Token') } });
    }
  });

  it('leaves a wg0 that is somebody else’s as it is, and says so', async () => {
    await server.space!.must(['wireguard-go', 'wg0']);
    await server.space!.must(['ip', 'address', 'add', '192.168.77.1/24', 'dev', 'wg0']);
    const before = (await server.exec(['ip', '-json', 'address', 'show', 'wg0'])).stdout;
    const answer = await panel.install();
    expect(answer).toMatchObject({ status: 400, body: { detail: expect.stringContaining('wg0') } });
    expect((await server.exec(['ip', '-json', 'address', 'show', 'wg0'])).stdout).toBe(before);
    expect((await panel.call('GET', '/check')).body).toEqual({ installed: false });
    const login = await panel.call('POST', '/login', { username: 'admin', password: adminPassword });
    expect(login.status).toBe(401);
    await server.space!.must(['ip', 'link', 'delete', 'wg0']);
  });

  it('works once, also when eight try at the same time', async () => {
    const answers = await Promise.all(Array.from({ length: 8 }, () => panel.install({ wg_port: 51_900 })));
    expect(answers.filter(({ status }) => status === 200).map(({ body }) => body)).toEqual([
      done('Installed successfully!'),
    ]);
    expect(answers.filter(({ status }) => status === 400)).toHaveLength(7);
    const again = await panel.install();
    expect(again).toMatchObject({ status: 400, body: { detail: 'CandyPanel is already installed.' } });
    expect((await panel.call('GET', '/check/')).body).toEqual({ installed: true });
  });

  it('made the admin, and wg0 with what was asked for', async () => {
    await panel.login();
    const { body } = await panel.call<InterfaceRecord[]>('GET', '/interfaces');
    expect(body).toEqual([
      {
        address_range: '10.0.0.1/24',
        port: 51_900,
        wg: 0,
        private_key: expect.stringMatching(/^[\w+/]{43}=$/),
        public_key: expect.stringMatching(/^[\w+/]{43}=$/),
        status: true,
      },
    ]);
    const { stdout } = await server.exec(['wg', 'show', 'wg0', 'dump']);
    expect(stdout.split('\n')[0]!.split('\t').slice(0, 3)).toEqual([
      body[0]!.private_key,
      body[0]!.public_key,
      '51900',
    ]);
    const { stdout: address } = await server.exec(['ip', '-o', 'address', 'show', 'wg0']);
    expect(address).toContain('10.0.0.1/24');
    const settings = await panel.call('GET', '/settings');
    expect(settings.body).toMatchObject({ server_ip: server.endpointHost, dns: '8.8.8.8', install: '1' });
  });

  it('stays done after a restart', async () => {
    await server.restart();
    expect((await panel.install()).status).toBe(400);
    expect((await panel.call('GET', '/check')).body).toEqual({ installed: true });
    expect(await panel.interface(0)).toMatchObject({ port: 51_900, status: true });
  });
});

describe('installing on a server whose admin came from the environment', () => {
  let server: Server;

  beforeAll(async () => {
    server = await startServer({
      env: { ADMIN_USERNAME: 'root', ADMIN_PASSWORD: adminPassword, ALLOW_WEAK_PASSWORDS: 'true' },
    });
  });

  afterAll(async () => {
    await server?.cleanup();
  });

  it('needs that admin’s token, and makes no second admin', async () => {
    const panel = new Panel(server);
    expect(await panel.install()).toMatchObject({ status: 401, body: { detail: expect.any(String) } });
    expect((await panel.install({}, { token: 'not-a-token-at-all' })).status).toBe(401);
    await panel.login('root');
    const answer = await panel.install({ admin_user: 'second', admin_password: 'x' }, { token: panel.token! });
    expect(answer).toMatchObject({ status: 200, body: done('Installed successfully!') });
    const login = await panel.call('POST', '/login', { username: 'second', password: 'x' });
    expect(login.status).toBe(401);
  });
});

describe('installing from a private address with weak passwords allowed', () => {
  let server: Server;

  beforeAll(async () => {
    server = await startServer({ env: { ALLOW_WEAK_PASSWORDS: 'true' } });
  });

  afterAll(async () => {
    await server?.cleanup();
  });

  it('takes the documented body as it stands, without a set-up token, but not through a proxy', async () => {
    const body = {
      server_ip: server.endpointHost,
      wg_port: '51820',
      wg_address_range: '10.0.0.1/24',
      wg_dns: '8.8.8.8',
      admin_user: 'admin',
      admin_password: 'admin',
    };
    const script = `
      for (const forwarded of [{ 'x-forwarded-for': '127.0.0.1' }, { via: '1.1 proxy' }, {}]) {
        const answer = await fetch('http://127.0.0.1:8000/install', {
          method: 'POST',
          headers: { 'content-type': 'application/json', ...forwarded },
          body: ${JSON.stringify(JSON.stringify(body))},
        });
        console.log(answer.status, await answer.text());
      }
    `;
    const { stdout } = await server.exec([process.execPath, '--input-type=module', '-e', script]);
    const answers = stdout.trim().split('\n');
    expect(answers.map((line) => line.slice(0, 3))).toEqual(['403', '403', '200']);
    expect(answers[2]).toBe(`200 ${JSON.stringify(done('Installed successfully!'))}`);
    const login = await request(server, 'POST', '/login', { body: { username: 'admin', password: 'admin' } });
    expect(login).toMatchObject({ status: 200, body: { access_token: expect.any(String), token_type: 'bearer' } });
  });
});

describe('installing on a host without WireGuard', () => {
  let panel: Panel;

  beforeAll(async () => {
    panel = await Panel.start({ env: { WIREGUARD: 'off' } });
  });

  afterAll(async () => {
    await panel?.server.cleanup();
  });

  it('makes the admin and a wg0 that is off, and pretends nothing', async () => {
    expect(await panel.interface(0)).toMatchObject({ wg: 0, port: 51_820, status: false });
    const create = await panel.call('POST', '/clients', { name: 'a', expires: '2099-01-01T00:00:00', traffic: '0' });
    expect(create).toMatchObject({ status: 503, body: { detail: expect.any(String) } });
    expect((await panel.call('GET', '/clients')).body).toEqual([]);
    const sync = await panel.call('POST', '/sync');
    expect(sync).toMatchObject({
      status: 500,
      body: { detail: expect.stringMatching(/^Synchronization failed: .*WireGuard/i) },
    });
    const { body } = await panel.call<{ alert: string[] }>('GET', '/dashboard');
    expect(body.alert.join()).toContain('WireGuard');
  });
});
