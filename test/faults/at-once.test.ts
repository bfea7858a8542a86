import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseClientFile } from '../support/client-namespace.js';
import type { Answer } from '../support/http.js';
import { type CandyClient, type CandyPanel, install } from '../support/installed.js';
import { type Server, startServer } from '../support/server.js';
import { eventually } from '../support/wait.js';

/** Clients that 10.0.0.1/29 has room for. */
const room = 5;

let server: Server;
let panel: CandyPanel;

beforeAll(async () => {
  server = await startServer({ env: { SYNC_INTERVAL: '3600' } });
  panel = await install(server);
  const answer = await panel.call('PUT', '/interfaces/wg0', { address: '10.0.0.1/29' });
  expect(answer.status, answer.text).toBe(200);
});

afterAll(async () => {
  await server?.cleanup();
});

interface Made {
  name: string;
  answer: Answer;
  address: string;
}

const candy = async (name: string): Promise<Made> => {
  const answer = await panel.call<{ data: { client_config: string } | null }>('POST', '/clients', {
    name,
    expires: '2099-01-01T00:00:00',
    traffic: '0',
  });
  return made(name, answer, answer.status === 200 ? answer.body.data!.client_config : null);
};

const easy = async (name: string): Promise<Made> => {
  const answer = await panel.call<{ configuration: string }>('POST', '/api/wireguard/client', { name });
  return made(name, answer, answer.status < 300 ? answer.body.configuration : null);
};

const made = (name: string, answer: Answer, file: string | null): Made => ({
  name,
  answer,
  address: file === null ? '' : parseClientFile(file).addresses[0]!,
});

const succeeded = (results: Made[]) => results.filter(({ answer }) => answer.status < 300);
const list = async () => (await panel.call<CandyClient[]>('GET', '/clients')).body;
const peers = async () => (await server.exec(['wg', 'show', 'wg0', 'peers'])).stdout.split('\n').filter(Boolean);

/** Deletes all at once, through both dialects, and waits until nothing of them is left. */
async function clear(): Promise<void> {
  const ids = (await panel.call<{ id: string; name: string }[]>('GET', '/api/wireguard/client')).body;
  const answers = await Promise.all(
    ids.map(({ id, name }, index) =>
      panel.call('DELETE', index % 2 === 0 ? `/api/wireguard/client/${id}` : `/clients/${name}`),
    ),
  );
  for (const { status, text } of answers) expect([200, 204], text).toContain(status);
  await eventually(async () => (await peers()).length === 0);
}

describe('at the same moment, over both dialects', () => {
  it('more clients are asked for than there are addresses: each address goes to one, the rest hear of it', async () => {
    for (let round = 0; round < 3; round += 1) {
      const results = await Promise.all(
        Array.from({ length: 16 }, (_, index) => (index % 2 === 0 ? candy : easy)(`r${round}-${index}`)),
      );
      const winners = succeeded(results);
      expect(new Set(winners.map(({ address }) => address))).toEqual(
        new Set(['10.0.0.2/32', '10.0.0.3/32', '10.0.0.4/32', '10.0.0.5/32', '10.0.0.6/32']),
      );
      expect(winners).toHaveLength(room);
      for (const { name, answer } of results.filter((result) => !winners.includes(result))) {
        const isCandy = Number(name.split('-')[1]) % 2 === 0;
        const told = 'No available IP addresses in the subnet.';
        expect(answer.body).toEqual(isCandy ? { detail: told } : { error: told, code: 'CONFLICT' });
        expect(answer.status).toBe(isCandy ? 400 : 409);
      }
      expect((await list()).map(({ name }) => name).sort()).toEqual(winners.map(({ name }) => name).sort());
      expect(await peers()).toHaveLength(room);
      await clear();
    }
  });

  it('the last address is asked for while another is given back: nobody has two, nobody shares one', async () => {
    for (let index = 0; index < room; index += 1) await candy(`full-${index}`);
    for (let round = 0; round < 5; round += 1) {
      const leaver = (await list())[0]!;
      const [gone, ...results] = await Promise.all([
        panel.call('DELETE', `/clients/${leaver.name}`),
        ...Array.from({ length: 6 }, (_, index) => (index % 2 === 0 ? candy : easy)(`swap-${round}-${index}`)),
      ]);
      expect(gone.status).toBe(200);
      // The address is free once its peer is off the device, a moment after the answer.
      const early = succeeded(results);
      expect(early.length).toBeLessThanOrEqual(1);
      if (early.length === 0) await eventually(async () => succeeded([await candy(`late-${round}`)]).length === 1);
      const clients = await list();
      expect(clients).toHaveLength(room);
      expect(new Set(clients.map(({ address }) => address)).size).toBe(room);
      expect((await peers()).sort()).toEqual(clients.map(({ public_key }) => public_key).sort());
    }
    await clear();
  });

  it('one name is asked for: one has it, the rest hear that it is taken, and one address is used', async () => {
    for (let round = 0; round < room - 1; round += 1) {
      const name = `same-${round}`;
      const results = await Promise.all(
        Array.from({ length: 10 }, (_, index) => (index % 2 === 0 ? candy : easy)(name)),
      );
      expect(succeeded(results)).toHaveLength(1);
      for (const { answer } of results.filter(({ answer: { status } }) => status >= 300)) {
        const told = 'Client with this name already exists.';
        expect([{ detail: told }, { error: told, code: 'CONFLICT' }]).toContainEqual(answer.body);
      }
      expect((await list()).filter((client) => client.name === name)).toHaveLength(1);
    }
    // Nothing of the losers is left: the address that remains can be had.
    expect(succeeded([await candy('last')])).toHaveLength(1);
    expect(await peers()).toHaveLength(room);
    await clear();
  });

  it('one client is deleted: one deletes it, the rest hear that there is none', async () => {
    await candy('once');
    const [{ id }] = (await panel.call<[{ id: string }]>('GET', '/api/wireguard/client')).body;
    const answers = await Promise.all(
      Array.from({ length: 8 }, (_, index) =>
        panel.call('DELETE', index % 2 === 0 ? `/api/wireguard/client/${id}` : '/clients/once'),
      ),
    );
    expect(answers.filter(({ status }) => status < 300)).toHaveLength(1);
    for (const { status, body } of answers.filter((answer) => answer.status >= 300)) {
      expect([400, 404], JSON.stringify(body)).toContain(status);
    }
    await eventually(async () => (await peers()).length === 0);
    expect(succeeded([await easy('once')])).toHaveLength(1);
  });
});
