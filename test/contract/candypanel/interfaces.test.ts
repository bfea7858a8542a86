import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventually } from '../../support/wait.js';
import { done, type InterfaceRecord, Panel } from './panel.js';

const key = expect.stringMatching(/^[\w+/]{43}=$/);

describe('interfaces', () => {
  let panel: Panel;

  beforeAll(async () => {
    panel = await Panel.start();
  });

  afterAll(async () => {
    await panel?.server.cleanup();
  });

  const create = (body: object) => panel.call<{ detail: string }>('POST', '/interfaces', body);
  const change = (name: string, body: object) => panel.call<{ detail: string }>('PUT', `/interfaces/${name}`, body);
  const remove = (path: string) => panel.call<{ detail: string }>('DELETE', `/interfaces/${path}`);
  const link = async (name: string) => {
    const { code, stdout } = await panel.server.exec(['ip', '-o', 'address', 'show', 'dev', name]);
    return code === 0 ? stdout : null;
  };
  const port = async (name: string) => (await panel.server.exec(['wg', 'show', name, 'listen-port'])).stdout.trim();

  it('begin with wg0', async () => {
    const answer = await panel.call('GET', '/interfaces');
    const wg0 = { address_range: '10.0.0.1/24', port: 51_820, wg: 0, private_key: key, public_key: key, status: true };
    expect(answer).toMatchObject({ status: 200, body: [wg0] });
    expect(Object.keys((answer.body as InterfaceRecord[])[0]!).sort()).toEqual(Object.keys(wg0).sort());
  });

  it('are made with the lowest free number and a key of their own, and come up', async () => {
    const answer = await create({ address_range: '10.0.1.1/24', port: 51_821 });
    expect(answer).toMatchObject({ status: 200, body: done('New Interface Created!') });
    const wg1 = (await panel.interface(1))!;
    expect(wg1).toMatchObject({ address_range: '10.0.1.1/24', port: 51_821, status: true });
    expect(wg1.private_key).not.toBe((await panel.interface(0))!.private_key);
    expect(await link('wg1')).toContain('10.0.1.1/24');
    expect(await port('wg1')).toBe('51821');

    expect((await create({ address_range: '10.0.2.1/24', port: '51822' })).status).toBe(200);
    expect((await remove('wg1')).body).toEqual(done('Interface wg1 deleted successfully.'));
    expect(await link('wg1')).toBeNull();
    expect((await create({ address_range: '10.0.1.1/24', port: 51_821 })).status).toBe(200);
    expect(await panel.interface(1)).toMatchObject({ port: 51_821 });
  });

  it('have ports and ranges of their own', async () => {
    const answers: [object, string | RegExp][] = [
      [{ address_range: '10.0.9.1/24', port: 51_821 }, 'An interface with port 51821 already exists.'],
      [{ address_range: '10.0.1.1/24', port: 51_829 }, 'An interface with address range 10.0.1.1/24 already exists.'],
      [{ address_range: '10.0.1.129/25', port: 51_829 }, /overlaps/],
      [{ address_range: '10.0.0.1/16', port: 51_829 }, /overlaps/],
    ];
    for (const [body, detail] of answers) {
      const answer = await create(body);
      expect(answer.status, JSON.stringify(body)).toBe(400);
      if (typeof detail === 'string') expect(answer.body).toEqual({ detail });
      else expect(answer.body.detail).toMatch(detail);
    }
    expect((await panel.call<InterfaceRecord[]>('GET', '/interfaces')).body.map(({ wg }) => wg)).toEqual([0, 1, 2]);
  });

  it('are refused with one text that names every bad field', async () => {
    const answer = await create({ address_range: 5, port: '70000' });
    expect(answer.status).toBe(400);
    for (const field of ['address_range', 'port']) expect(answer.body.detail).toContain(field);
    for (const body of [
      {},
      { address_range: '10.0.9.1/24' },
      { port: 51_829 },
      { address_range: '10.0.9.0/24', port: 51_829 },
      { address_range: '10.0.9.255/24', port: 51_829 },
      { address_range: '10.0.9.1', port: 51_829 },
      { address_range: '10.0.9.1/31', port: 51_829 },
      { address_range: '10.0.9.1/7', port: 51_829 },
      { address_range: '127.0.0.1/24', port: 51_829 },
      { address_range: '224.0.0.1/24', port: 51_829 },
      { address_range: 'fd00::1/64', port: 51_829 },
      { address_range: '10.0.9.1/24\nPostUp = reboot', port: 51_829 },
      { address_range: '10.0.9.1/24', port: 0 },
      { address_range: '10.0.9.1/24', port: 65_536 },
      { address_range: '10.0.9.1/24', port: 51.5 },
      { address_range: '10.0.9.1/24', port: 'http' },
    ]) {
      expect((await create(body)).status, JSON.stringify(body)).toBe(400);
    }
  });

  it('made eight at once for one range and port are one', async () => {
    const answers = await Promise.all(
      Array.from({ length: 8 }, () => create({ address_range: '10.0.5.1/24', port: 51_825 })),
    );
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
    expect(answers.filter(({ status }) => status === 400)).toHaveLength(7);
    expect((await remove('wg3')).status).toBe(200);
  });

  it('take a port that the host has in use for what it is: an error, after which there is none', async () => {
    const space = panel.server.space!;
    await space.must(['wireguard-go', 'other0']);
    await space.must(['wg', 'set', 'other0', 'listen-port', '51840']);
    await space.must(['ip', 'link', 'set', 'other0', 'up']);
    const answer = await create({ address_range: '10.0.6.1/24', port: 51_840 });
    expect(answer.status).toBe(400);
    expect(answer.body.detail).toContain('51840');
    expect((await panel.call<InterfaceRecord[]>('GET', '/interfaces')).body.map(({ wg }) => wg)).toEqual([0, 1, 2]);
    expect(await link('wg3')).toBeNull();
    const moved = await change('wg2', { port: 51_840 });
    expect(moved.status).toBe(400);
    expect(await panel.interface(2)).toMatchObject({ port: 51_822 });
    await eventually(async () => (await port('wg2')) === '51822');
    await space.must(['ip', 'link', 'delete', 'other0']);
  });

  it('change port and range, with clients that stay on', async () => {
    await panel.create('moved', { wg_id: 1 });
    const { public_key, address } = await panel.client('moved');
    const answer = await change('wg1', { port: '51831' });
    expect(answer).toMatchObject({ status: 200, body: done('Interface wg1 edited successfully.') });
    expect(await panel.interface(1)).toMatchObject({ address_range: '10.0.1.1/24', port: 51_831, status: true });
    expect(await port('wg1')).toBe('51831');
    const config = await panel.call<{ data: { config: string } }>('GET', '/clients/moved/config');
    expect(config.body.data.config).toContain(`Endpoint = ${panel.server.endpointHost}:51831\n`);

    expect((await change('wg1', { address: '10.0.1.1/25' })).status).toBe(200);
    expect(await link('wg1')).toContain('10.0.1.1/25');
    expect((await panel.peers('wg1'))!.get(public_key)).toContain(`${address}/32`);
  });

  it('do not leave their clients behind when they change their range', async () => {
    const answer = await change('wg1', { address: '10.0.7.1/24' });
    expect(answer.status).toBe(400);
    expect(answer.body.detail).toMatch(/client/);
    expect((await change('wg1', { address: '10.0.1.2/24' })).status).toBe(400);
    expect(await panel.interface(1)).toMatchObject({ address_range: '10.0.1.1/25' });
    expect(await link('wg1')).toContain('10.0.1.1/25');
  });

  it('do not take what another has', async () => {
    expect((await change('wg1', { port: 51_820 })).body).toEqual({
      detail: 'An interface with port 51820 already exists.',
    });
    expect((await change('wg2', { address: '10.0.1.1/25' })).body).toEqual({
      detail: 'An interface with address range 10.0.1.1/25 already exists.',
    });
    expect((await change('wg2', { address: '10.0.0.129/25' })).body.detail).toMatch(/overlaps/);
    expect(await panel.interface(2)).toMatchObject({ address_range: '10.0.2.1/24', port: 51_822 });
  });

  it('go down with their device, and come back with their clients', async () => {
    const { public_key } = await panel.client('moved');
    expect((await change('wg1', { status: false })).status).toBe(200);
    expect(await link('wg1')).toBeNull();
    expect(await panel.interface(1)).toMatchObject({ status: false });
    expect(await panel.interface(0)).toMatchObject({ status: true });
    expect(await link('wg0')).not.toBeNull();

    expect((await change('wg1', { status: true })).status).toBe(200);
    expect(await link('wg1')).toContain('10.0.1.1/25');
    expect((await panel.peers('wg1'))!.has(public_key)).toBe(true);
  });

  it('that are down stay down over a restart', async () => {
    await change('wg2', { status: false });
    await panel.server.restart();
    expect(await panel.interface(2)).toMatchObject({ status: false });
    await panel.call('POST', '/sync');
    expect(await link('wg2')).toBeNull();
    expect(await link('wg1')).not.toBeNull();
    await change('wg2', { status: true });
    expect(await link('wg2')).not.toBeNull();
  });

  it('that somebody took away come back by themselves', async () => {
    await panel.server.exec(['ip', 'link', 'delete', 'wg1']);
    await eventually(async () => {
      await panel.call('POST', '/sync');
      return (await panel.peers('wg1'))?.has((await panel.client('moved')).public_key);
    });
  });

  it('do not change by nothing or by what is wrong', async () => {
    for (const body of [{}, { address_range: '10.0.8.1/24' }, { port: null }]) {
      expect(await change('wg0', body)).toMatchObject({ status: 400, body: { detail: 'No update data provided.' } });
    }
    const answer = await change('wg0', { address: 1, port: 'x', status: 'down' });
    expect(answer.status).toBe(400);
    for (const field of ['address', 'port', 'status']) expect(answer.body.detail).toContain(field);
  });

  it('that are not there are named', async () => {
    for (const name of ['wg9', 'eth0', 'wg', 'wg00', 'wg99999999999', 'lo']) {
      const missing = { status: 400, body: { detail: `Interface ${name} does not exist.` } };
      expect(await change(name, { port: 51_850 })).toMatchObject(missing);
      expect(await remove(name)).toMatchObject(missing);
    }
  });

  it('are not deleted while clients are on them, unless forced', async () => {
    const refused = await remove('wg1');
    expect(refused).toMatchObject({ status: 400, body: { detail: expect.stringContaining('force') } });
    expect((await remove('wg1?force=maybe')).status).toBe(400);
    expect((await remove('wg1?force=false')).status).toBe(400);
    expect((await remove('wg1?force=true')).body).toEqual(done('Interface wg1 deleted successfully.'));
    expect(await panel.interface(1)).toBeUndefined();
    expect(await link('wg1')).toBeNull();
    expect((await panel.call('GET', '/clients/moved')).status).toBe(404);
  });

  it('never touch a device of somebody else that has the name', async () => {
    await panel.server.space!.must(['wireguard-go', 'wg1']);
    await panel.server.space!.must(['ip', 'address', 'add', '192.168.99.1/24', 'dev', 'wg1']);
    const before = await link('wg1');
    const answer = await create({ address_range: '10.0.1.1/24', port: 51_821 });
    expect(answer.status).toBe(400);
    expect(answer.body.detail).toContain('wg1');
    expect(await panel.interface(1)).toBeUndefined();
    await panel.call('POST', '/sync');
    expect(await link('wg1')).toBe(before);
    await panel.server.space!.must(['ip', 'link', 'delete', 'wg1']);
    expect((await create({ address_range: '10.0.1.1/24', port: 51_821 })).status).toBe(200);
  });
});
