import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseClientFile } from '../../support/client-namespace.js';
import { asOwner } from '../../support/database.js';
import { eventually } from '../../support/wait.js';
import { adminPassword, type ClientRecord, done, Panel } from './panel.js';

const key = expect.stringMatching(/^[\w+/]{43}=$/);
const never = '9999-12-31T23:59:59';
const largest = '9223372036854775807';

describe('clients', () => {
  let panel: Panel;

  beforeAll(async () => {
    panel = await Panel.start();
  });

  afterAll(async () => {
    await panel?.server.cleanup();
  });

  const create = (body: object) => panel.call<{ detail: string }>('POST', '/clients', body);
  const change = (name: string, body: object) =>
    panel.call<{ detail: string }>('PUT', `/clients/${encodeURIComponent(name)}`, body);
  const remove = (name: string) => panel.call('DELETE', `/clients/${encodeURIComponent(name)}`);
  const fresh = (name: string, fields: object = {}) => ({
    name,
    expires: '2099-12-31T23:59:59',
    traffic: '0',
    ...fields,
  });

  it('are none at first', async () => {
    expect(await panel.call('GET', '/clients')).toMatchObject({ status: 200, body: [] });
  });

  it('are made with a config that a WireGuard application takes, and are on the device at once', async () => {
    const before = Date.now();
    const ipv6 = expect.stringMatching(/^fd.*::2\/128$/) as string;
    const answer = await create({
      name: 'alice',
      expires: '2030-12-31T23:59:59',
      traffic: '1073741824',
      wg_id: 0,
      note: 'first',
    });
    expect(answer).toMatchObject({
      status: 200,
      body: {
        message: 'Client created successfully.',
        success: true,
        data: { client_config: expect.stringMatching(/^\[Interface\]\nPrivateKey = /) },
      },
    });
    const { client_config: config } = (answer.body as unknown as { data: { client_config: string } }).data;
    const alice = await panel.client('alice');
    expect(alice).toEqual({
      name: 'alice',
      expires: '2030-12-31T23:59:59',
      traffic: '1073741824',
      wg_id: 0,
      note: 'first',
      public_key: key,
      private_key: key,
      address: '10.0.0.2',
      created_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d$/),
      used_trafic: { download: 0, upload: 0 },
      connected_now: false,
      status: true,
    });
    expect(Math.abs(Date.parse(`${alice.created_at}Z`) - before)).toBeLessThan(60_000);
    expect(await panel.peers()).toEqual(new Map([[alice.public_key, ['10.0.0.2/32', ipv6]]]));

    const wg0 = (await panel.interface(0))!;
    expect(parseClientFile(config)).toMatchObject({ addresses: ['10.0.0.2/32', ipv6], mtu: 1420 });
    expect(config).toContain(`PrivateKey = ${alice.private_key}\n`);
    expect(config).toContain('DNS = 8.8.8.8\n');
    expect(config).toContain(`PublicKey = ${wg0.public_key}\n`);
    expect(config).toContain(`Endpoint = ${panel.server.endpointHost}:51820\n`);
    expect(config).toContain('AllowedIPs = 0.0.0.0/0, ::/0\n');
  });

  it('are listed as they are shown, oldest first', async () => {
    await panel.create('bob');
    const { body } = await panel.call<ClientRecord[]>('GET', '/clients');
    expect(body).toEqual([await panel.client('alice'), await panel.client('bob')]);
  });

  it('give their config again, and follow the settings in it', async () => {
    const first = await panel.create('again');
    const answer = await panel.call<{ data: { config: string } }>('GET', '/clients/again/config');
    expect(answer).toMatchObject({
      status: 200,
      body: { message: 'Client config retrieved successfully.', success: true, data: { config: first } },
    });
    await panel.call('PUT', '/settings/dns', { value: '1.1.1.1, 9.9.9.9' });
    await panel.call('PUT', '/settings/custom_endpont', { value: 'vpn.example.org' });
    const { body } = await panel.call<{ data: { config: string } }>('GET', '/clients/again/config');
    expect(body.data.config).toContain('DNS = 1.1.1.1, 9.9.9.9\n');
    expect(body.data.config).toContain('Endpoint = vpn.example.org:51820\n');
    await panel.call('PUT', '/settings/dns', { value: '8.8.8.8' });
    await panel.call('PUT', '/settings/custom_endpont', { value: '' });
  });

  it('have names of their own', async () => {
    const answer = await create(fresh('alice'));
    expect(answer).toMatchObject({ status: 400, body: { detail: 'Client with this name already exists.' } });
  });

  it('may be named in any script, up to 64 characters', async () => {
    const names = [
      'Алиса',
      '张伟',
      'علی رضا',
      'José',
      'a b',
      'a_b-c.d@e+f',
      '0',
      '__proto__',
      'constructor',
      'x'.repeat(64),
    ];
    names.push('\u{10348}'.repeat(64), '१२३', 'config');
    for (const name of names) {
      expect((await create(fresh(name))).status, name).toBe(200);
      expect((await panel.client(name)).name).toBe(name);
      const path = `/clients/${encodeURIComponent(name)}`;
      expect((await panel.call('GET', `${path}/config`)).status, name).toBe(200);
      expect((await change(name, { note: 'n' })).body, name).toEqual(done(`Client '${name}' edited successfully.`));
      expect((await remove(name)).body, name).toEqual(done(`Client '${name}' deleted successfully.`));
      expect((await panel.call('GET', path)).body, name).toEqual({ detail: `Client '${name}' not found.` });
    }
  });

  it('are the same however the accents of a name are encoded', async () => {
    await panel.create('Ame\u0301lie');
    expect((await panel.client('Am\u00e9lie')).name).toBe('Am\u00e9lie');
    expect((await create(fresh('Am\u00e9lie'))).status).toBe(400);
    expect((await remove('Ame\u0301lie')).status).toBe(200);
  });

  it('have no name that a line, a path or a shell could stumble over', async () => {
    const names = [
      '',
      ' ',
      ' a',
      'a ',
      'a\nb',
      'a\tb',
      'a\0b',
      'a/b',
      '..',
      '.',
      '$(id)',
      'a;b',
      "a'b",
      'a"b',
      '<a>',
      '😀',
    ];
    names.push('x'.repeat(65), '\u{10348}'.repeat(65), '\u0958'.repeat(40));
    for (const name of names) {
      const answer = await create(fresh(name));
      expect(answer.status, JSON.stringify(name)).toBe(400);
      expect(answer.body.detail).toContain('name');
    }
    for (const name of [null, 5, ['a'], { a: 1 }]) expect((await create({ ...fresh('a'), name })).status).toBe(400);
  });

  it('are refused with one text that names every bad field', async () => {
    const empty = await create({});
    expect(empty.status).toBe(400);
    for (const field of ['name', 'expires', 'traffic']) expect(empty.body.detail).toContain(field);
    const bad = await create({ name: 'ok', expires: 'soon', traffic: 'lots', wg_id: 'zero', note: 5 });
    expect(bad.status).toBe(400);
    for (const field of ['expires', 'traffic', 'wg_id', 'note']) expect(bad.body.detail).toContain(field);
    expect(bad.body.detail).not.toContain('name');
    expect(Object.keys(bad.body)).toEqual(['detail']);
    expect(typeof bad.body.detail).toBe('string');
  });

  it('have a quota that is exact up to 2^63-1, sent as number or text', async () => {
    const cases: [string, string][] = [
      ['"0"', '0'],
      ['0', '0'],
      ['"1073741824"', '1073741824'],
      ['1073741824', '1073741824'],
      ['9007199254740993', '9007199254740993'],
      [`"${largest}"`, largest],
      [largest, largest],
    ];
    for (const [sent, shown] of cases) {
      const body = `{"name":"quota","expires":"2099-01-01T00:00:00","traffic":${sent}}`;
      expect((await panel.call('POST', '/clients', body)).status, sent).toBe(200);
      expect((await panel.client('quota')).traffic, sent).toBe(shown);
      await remove('quota');
    }
    for (const sent of [
      '"9223372036854775808"',
      '9223372036854775808',
      '-1',
      '"-1"',
      '1.5',
      '"1e3"',
      '""',
      'true',
      'null',
      '[]',
    ]) {
      const body = `{"name":"quota","expires":"2099-01-01T00:00:00","traffic":${sent}}`;
      const answer = await panel.call<{ detail: string }>('POST', '/clients', body);
      expect(answer.status, sent).toBe(400);
      expect(answer.body.detail, sent).toContain('traffic');
    }
  });

  it('keep a note as it was written, and out of the config', async () => {
    const note = 'line one\nPostUp = reboot\n[Peer]\n"quoted" <b> \u{1f600}';
    const config = await panel.create('noted', { note });
    expect(config).not.toContain('reboot');
    expect((await panel.client('noted')).note).toBe(note);
    expect((await create(fresh('too-long', { note: 'x'.repeat(1001) }))).status).toBe(400);
    expect((await create(fresh('nul', { note: 'a\0b' }))).status).toBe(400);
    expect((await panel.client('alice')).note).toBe('first');
    await panel.create('silent');
    expect((await panel.client('silent')).note).toBe('');
  });

  it('have a date in UTC, or none', async () => {
    const cases: [string | null, string][] = [
      ['2031-02-03T04:05:06', '2031-02-03T04:05:06'],
      ['2031-02-03T04:05:06Z', '2031-02-03T04:05:06'],
      ['2031-02-03T04:05:06+03:30', '2031-02-03T00:35:06'],
      ['2031-02-03T04:05:06.789012', '2031-02-03T04:05:06'],
      ['2031-02-03', '2031-02-03T00:00:00'],
      [never, never],
      ['', never],
      [null, never],
    ];
    for (const [sent, shown] of cases) {
      expect((await create(fresh('dated', { expires: sent }))).status, String(sent)).toBe(200);
      expect(await panel.client('dated')).toMatchObject({ expires: shown, status: true });
      await remove('dated');
    }
    for (const expires of ['soon', '2031-02-30T00:00:00', '2031-13-01T00:00:00', '2031-01-01T25:00:00', 5, {}, '1']) {
      const answer = await create(fresh('dated', { expires }));
      expect(answer.status, JSON.stringify(expires)).toBe(400);
      expect(answer.body.detail).toContain('expires');
    }
  });

  it('made with a date in the past are ended, and come back with a later one, not with status alone', async () => {
    const config = await panel.create('late', { expires: '2020-01-01T00:00:00' });
    expect(await panel.client('late')).toMatchObject({ expires: '2020-01-01T00:00:00', status: false });
    expect(await panel.isOn('late')).toBe(false);

    expect((await change('late', { status: true })).status).toBe(200);
    expect((await panel.client('late')).status).toBe(false);
    await panel.call('POST', '/sync');
    expect(await panel.isOn('late')).toBe(false);

    expect((await change('late', { expires: '2099-01-01T00:00:00' })).status).toBe(200);
    expect((await panel.client('late')).status).toBe(true);
    expect(await panel.isOn('late')).toBe(true);
    const again = await panel.call<{ data: { config: string } }>('GET', '/clients/late/config');
    expect(again.body.data.config).toBe(config);
  });

  it('are cut off by a date that has passed, at that second', async () => {
    await panel.create('brief');
    const soon = new Date(Date.now() + 2_000).toISOString().slice(0, 19);
    expect((await change('brief', { expires: soon })).status).toBe(200);
    await eventually(async () => {
      await panel.call('POST', '/sync');
      return !(await panel.client('brief')).status;
    });
    expect(Date.now()).toBeGreaterThanOrEqual(Date.parse(`${soon}Z`));
    expect(await panel.isOn('brief')).toBe(false);
  });

  it('that an admin switched off stay off when their date is raised', async () => {
    await panel.create('off', { expires: '2020-01-01T00:00:00' });
    await change('off', { status: false });
    await change('off', { expires: '2099-01-01T00:00:00' });
    expect((await panel.client('off')).status).toBe(false);
    await change('off', { status: true });
    expect((await panel.client('off')).status).toBe(true);
    expect(await panel.isOn('off')).toBe(true);
  });

  it('leave the device at once when switched off, and return with the same keys and address', async () => {
    await panel.create('toggled');
    const before = await panel.client('toggled');
    const off = await change('toggled', { status: false });
    expect(off).toMatchObject({ status: 200, body: done("Client 'toggled' edited successfully.") });
    expect((await panel.peers())!.has(before.public_key)).toBe(false);
    expect(await panel.client('toggled')).toEqual({ ...before, status: false });
    await change('toggled', { status: true });
    expect(await panel.client('toggled')).toEqual(before);
    expect((await panel.peers())!.get(before.public_key)).toContain(`${before.address}/32`);
  });

  it('change in what was given only', async () => {
    await panel.create('partial', { traffic: '5', note: 'old' });
    const before = await panel.client('partial');
    await change('partial', { note: 'new', expires: null, traffic: null, status: null });
    expect(await panel.client('partial')).toEqual({ ...before, note: 'new' });
    await change('partial', { traffic: 2_147_483_648 });
    expect(await panel.client('partial')).toEqual({ ...before, note: 'new', traffic: '2147483648' });
    await change('partial', { expires: '', note: '' });
    expect(await panel.client('partial')).toMatchObject({ expires: never, note: '' });
  });

  it('do not change by nothing, by unknown fields, or by what is wrong', async () => {
    for (const body of [{}, { name: 'other' }, { expires: null }]) {
      const answer = await change('alice', body);
      expect(answer).toMatchObject({ status: 400, body: { detail: 'No update data provided.' } });
    }
    const answer = await change('alice', { expires: 'never', traffic: -1, status: 'yes', note: {} });
    expect(answer.status).toBe(400);
    for (const field of ['expires', 'traffic', 'status', 'note']) expect(answer.body.detail).toContain(field);
  });

  it('that are not there are 404 to read and 400 to write', async () => {
    const missing = { detail: "Client 'nobody' not found." };
    expect(await panel.call('GET', '/clients/nobody')).toMatchObject({ status: 404, body: missing });
    expect(await change('nobody', { note: 'x' })).toMatchObject({ status: 400, body: missing });
    expect(await remove('nobody')).toMatchObject({ status: 400, body: missing });
    const config = await panel.call('GET', '/clients/nobody/config');
    expect(config).toMatchObject({ status: 404, body: { detail: 'Client not found.' } });
  });

  it('need an interface that is there', async () => {
    const answer = await create(fresh('lost', { wg_id: 7 }));
    expect(answer).toMatchObject({ status: 400, body: { detail: 'WireGuard interface wg7 not found.' } });
    expect((await create(fresh('lost', { wg_id: -1 }))).body.detail).toContain('wg_id');
    expect((await create(fresh('text', { wg_id: '0' }))).status).toBe(200);
  });

  it('leave their name and address to others when they are deleted', async () => {
    await panel.call('POST', '/interfaces', { address_range: '10.3.0.1/30', port: 51_830 });
    const number = 1;
    await panel.create('only', { wg_id: number });
    const { address, public_key } = await panel.client('only');
    expect(address).toBe('10.3.0.2');
    const full = await create(fresh('second', { wg_id: number }));
    expect(full).toMatchObject({ status: 400, body: { detail: 'No available IP addresses in the subnet.' } });

    expect((await remove('only')).status).toBe(200);
    expect((await panel.peers('wg1'))!.has(public_key)).toBe(false);
    await eventually(async () => (await create(fresh('only', { wg_id: number }))).status === 200);
    const heir = await panel.client('only');
    expect(heir).toMatchObject({ address, wg_id: number });
    expect(heir.public_key).not.toBe(public_key);
    await panel.call('DELETE', '/interfaces/wg1?force=true');
  });

  it('made eight at once get addresses of their own, and one of a name', async () => {
    const names = Array.from({ length: 8 }, (_, index) => `crowd-${index}`);
    const answers = await Promise.all(names.map((name) => create(fresh(name))));
    expect(answers.map(({ status }) => status)).toEqual(Array(8).fill(200));
    const { body } = await panel.call<ClientRecord[]>('GET', '/clients');
    expect(new Set(body.map(({ address }) => address)).size).toBe(body.length);
    expect(new Set(body.map(({ public_key }) => public_key)).size).toBe(body.length);
    const peers = (await panel.peers())!;
    for (const client of body.filter(({ name }) => names.includes(name))) {
      expect(peers.get(client.public_key)).toContain(`${client.address}/32`);
    }

    const twins = await Promise.all(Array.from({ length: 8 }, () => create(fresh('twin'))));
    expect(twins.filter(({ status }) => status === 200)).toHaveLength(1);
    for (const { body: answer } of twins.filter(({ status }) => status !== 200)) {
      expect(answer).toEqual({ detail: 'Client with this name already exists.' });
    }
  });

  it('show what they used exactly, beyond 2^53 too', async () => {
    await panel.create('heavy');
    await asOwner(panel.server.database!.name, (database) =>
      database.query(
        `INSERT INTO usage_counters (subject_id, kind, rx_total, tx_total)
         SELECT id, 1, 9007199254740993, ${largest} - 9007199254740993 FROM clients WHERE name = 'heavy'
         ON CONFLICT (subject_id) DO UPDATE SET rx_total = excluded.rx_total, tx_total = excluded.tx_total`,
      ),
    );
    for (const path of ['/clients/heavy', '/clients']) {
      const { text } = await panel.call('GET', path);
      expect(text).toContain('"used_trafic":{"download":9214364837600034814,"upload":9007199254740993}');
    }
    await remove('heavy');
  });

  it('are as they were after a restart of the server, on the device too', async () => {
    const before = (await panel.call<ClientRecord[]>('GET', '/clients')).body;
    const peers = await panel.peers();
    await panel.server.restart();
    expect((await panel.call('GET', '/clients')).body).toEqual(before);
    await eventually(async () => {
      expect(await panel.peers()).toEqual(peers);
      return true;
    });
  });

  it('that ended are deleted when the operator wants that', async () => {
    await panel.call('PUT', '/settings/expired_client_action', { value: 'delete' });
    await panel.create('doomed');
    await change('doomed', { expires: new Date(Date.now() + 1_000).toISOString().slice(0, 19) });
    await eventually(async () => {
      await panel.call('POST', '/sync');
      return (await panel.call('GET', '/clients/doomed')).status === 404;
    });
    await panel.call('PUT', '/settings/expired_client_action', { value: 'disable' });
  });

  it('leave no key in the log, nor among the events', async () => {
    await panel.create('secretive', { note: 'a note' });
    const { private_key } = await panel.client('secretive');
    await change('secretive', { traffic: '1' });
    await remove('secretive');
    expect(panel.server.logs()).not.toContain(private_key);
    expect(panel.server.logs()).not.toContain(adminPassword);
    const { rows } = await asOwner(panel.server.database!.name, (database) =>
      database.query<{ line: string }>(`SELECT row_to_json(e)::text AS line FROM events e WHERE target = 'secretive'`),
    );
    expect(rows.length).toBeGreaterThanOrEqual(3);
    for (const { line } of rows) expect(line).not.toContain(private_key);
  });
});
