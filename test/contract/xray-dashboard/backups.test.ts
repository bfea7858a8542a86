import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventually } from '../../support/wait.js';
import { Dashboard, failure, type UserItem } from './dashboard.js';

interface Item {
  filename: string;
  size: number;
  created: string;
}

describe('backups', () => {
  let dashboard: Dashboard;

  beforeAll(async () => {
    dashboard = await Dashboard.start();
    // While the one of the day is made, no other can be.
    await eventually(async () => (await list()).length > 0, { timeoutMs: 30_000, what: 'the automatic backup' });
  });

  afterAll(async () => {
    await dashboard?.server.cleanup();
  });

  const list = async () => (await dashboard.read<{ backups: Item[] }>('/api/backups')).backups;
  const create = async () => {
    const answer = await dashboard.call<Item>('POST', '/api/backups');
    expect(answer).toMatchObject({ status: 201, body: { ok: true, filename: expect.any(String) } });
    return answer.body;
  };

  it('are made, listed newest first, downloaded and deleted', async () => {
    const first = await create();
    const second = await create();
    expect(second.size).toBeGreaterThan(0);
    const made = (await list()).filter(({ filename }) => [first, second].some((item) => item.filename === filename));
    expect(made.map(({ filename }) => filename)).toEqual([second.filename, first.filename]);
    expect(made[0]).toMatchObject({ size: second.size, created: second.created });
    const file = await dashboard.call('GET', `/api/backups/${first.filename}/download`);
    expect(file.status).toBe(200);
    expect(file.bytes.length).toBe(first.size);
    expect(file.headers['content-disposition']).toContain(first.filename);
    expect(await dashboard.call('DELETE', `/api/backups/${first.filename}`)).toMatchObject({
      status: 200,
      body: { ok: true },
    });
    expect((await list()).map(({ filename }) => filename)).not.toContain(first.filename);
  });

  it('are shown and restored, as a preview unless the request says otherwise', async () => {
    const setDns = (value: string) => dashboard.call('PUT', '/settings/dns', { value });
    const dns = async () => (await dashboard.read<{ dns: string }>('/settings')).dns;
    await setDns('9.9.9.9');
    const { filename } = await create();
    await setDns('1.1.1.1');
    const preview = await dashboard.read<{ preview: Record<string, { name: string }[]> }>(
      `/api/backups/${filename}/preview`,
    );
    expect(Object.keys(preview.preview)).toEqual(
      expect.arrayContaining(['users', 'inbounds', 'wireguard', 'settings']),
    );
    expect(preview.preview['users']).toContainEqual({ kind: 'user', name: 'admin' });

    for (const body of [undefined, {}, { preview: true }]) {
      const answer = await dashboard.call('POST', `/api/backups/${filename}/restore`, body);
      expect(answer).toMatchObject({ status: 200, body: { ok: true, restored_from: null, preview: {} } });
    }
    expect(await dns()).toBe('1.1.1.1');
    const other = { preview: false, parts: ['users'] };
    expect(await dashboard.call('POST', `/api/backups/${filename}/restore`, other)).toMatchObject({ status: 200 });
    expect(await dns()).toBe('1.1.1.1');
    const restored = await dashboard.call<{ saved_as: string }>('POST', `/api/backups/${filename}/restore`, {
      preview: false,
      parts: ['settings'],
    });
    expect(restored).toMatchObject({ status: 200, body: { ok: true, restored_from: filename } });
    expect(await dns()).toBe('9.9.9.9');
    expect((await list()).map((item) => item.filename)).toContain(restored.body.saved_as);
  });

  it('hold the users and the inbound of the engine, each in its list, and bring them back', async () => {
    const user = await dashboard.add('ann@example.com');
    const { filename } = await create();
    const { preview } = await dashboard.read<{ preview: Record<string, unknown> & { counts: object } }>(
      `/api/backups/${filename}/preview`,
    );
    expect(preview).toMatchObject({
      users: [
        { kind: 'user', name: 'admin' },
        { kind: 'xray_user', name: user.email },
      ],
      inbounds: [{ kind: 'inbound', name: 'vless-in' }],
      counts: { users: 2, inbounds: 1 },
    });
    const kick = await dashboard.call<{ uuid: string }>('POST', '/api/users/kick', { email: user.email });
    expect(kick.status).toBe(200);
    const restored = await dashboard.call('POST', `/api/backups/${filename}/restore`, { preview: false });
    expect(restored).toMatchObject({ status: 200, body: { ok: true, restored_from: filename } });
    const { users } = await dashboard.read<{ users: UserItem[] }>('/api/users');
    expect(users).toMatchObject([{ email: user.email, uuid: user.uuid }]);
  });

  it('that are not in the list are 404, whatever the name contains', async () => {
    const names = ['x', '..%2F..%2Fetc%2Fpasswd', '%2e%2e%2fsecret.key', 'a%00b', '%0a', 'x'.repeat(300)];
    for (const name of names) {
      for (const [method, path] of [
        ['GET', `/api/backups/${name}/preview`],
        ['GET', `/api/backups/${name}/download`],
        ['POST', `/api/backups/${name}/restore`],
        ['DELETE', `/api/backups/${name}`],
      ] as const) {
        const answer = await dashboard.call(method, path);
        expect(answer, `${method} ${path}`).toMatchObject({ status: 404, body: failure(404) });
      }
    }
  });

  it('are not restored from requests that make no sense', async () => {
    const { filename } = await create();
    for (const body of [
      { preview: 'no' },
      { parts: 'users' },
      { parts: [5] },
      { preview: false, parts: ['users', 'money'] },
    ]) {
      const answer = await dashboard.call('POST', `/api/backups/${filename}/restore`, body);
      expect(answer, JSON.stringify(body)).toMatchObject({ status: 400, body: failure(400) });
    }
  });
});
