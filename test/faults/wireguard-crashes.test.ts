import { randomInt } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Client } from 'pg';
import { afterEach, describe, expect, it } from 'vitest';
import { connectClient, parseClientFile, type WireguardClient } from '../support/client-namespace.js';
import { type Answer, request } from '../support/http.js';
import { type CandyClient, type CandyPanel, install } from '../support/installed.js';
import { type Server, startServer } from '../support/server.js';
import { eventually } from '../support/wait.js';

const operations = Number(process.env['CRASH_OPERATIONS'] ?? 300);
const seed = Number(process.env['CRASH_SEED'] ?? randomInt(1, 2 ** 31));
const operationsPerRound = 50;
const callersAtOnce = 6;

let server: Server;
let traveller: WireguardClient | undefined;

afterEach(async () => {
  await traveller?.close();
  await server?.cleanup();
});

/** What is known of one client: by the answers that were given, and by nothing else. */
interface Fate {
  name: string;
  /** `open`: no answer came, or one to a removal that says it may still be under way. */
  state: 'there' | 'gone' | 'refused' | 'open';
  address: string;
}

interface EasyClient {
  id: string;
  name: string;
  address: string;
}

/** mulberry32: the same numbers from the same seed. */
function dice(from: number): (sides: number) => number {
  let state = from;
  return (sides) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * sides);
  };
}

/** Creates, deletes and syncs through both dialects, one call after the other, and notes what it was told. */
class Operator {
  readonly fates = new Map<string, Fate>();
  /** Resolved while the server can be called. */
  gate: Promise<unknown> = Promise.resolve();
  done = 0;
  private named = 0;

  constructor(
    private readonly panel: CandyPanel,
    private readonly roll: (sides: number) => number,
  ) {}

  async work(until: number): Promise<void> {
    while (this.done < until) {
      this.done += 1;
      await this.gate;
      const choice = this.roll(10);
      if (choice < 5) await this.create();
      else if (choice < 9) await this.remove();
      else await this.call('POST', '/sync');
    }
  }

  forgetRefusals(): void {
    for (const fate of this.fates.values()) if (fate.state === 'refused') fate.state = 'open';
  }

  private async create(): Promise<void> {
    const fate: Fate = { name: `c${(this.named += 1)}`, state: 'open', address: '' };
    this.fates.set(fate.name, fate);
    const easy = this.roll(2) === 0;
    const answer = easy
      ? await this.call<{ configuration: string }>('POST', '/api/wireguard/client', { name: fate.name })
      : await this.call<{ data: { client_config: string } }>('POST', '/clients', {
          name: fate.name,
          expires: '2099-01-01T00:00:00',
          traffic: '0',
        });
    if (answer === null) return;
    if (answer.status >= 300) {
      fate.state = 'refused';
      return;
    }
    const file = 'configuration' in answer.body ? answer.body.configuration : answer.body.data.client_config;
    fate.address = parseClientFile(file).addresses[0]!.split('/')[0]!;
    const twin = [...this.fates.values()].find(
      (other) => other !== fate && other.state === 'there' && other.address === fate.address,
    );
    expect(twin, `${fate.name} has the address of another`).toBeUndefined();
    fate.state = 'there';
  }

  private async remove(): Promise<void> {
    const there = [...this.fates.values()].filter(({ state }) => state === 'there');
    const fate = there[this.roll(there.length)];
    if (fate === undefined) return;
    fate.state = 'open';
    const easy = this.roll(2) === 0;
    const id = easy ? await this.idOf(fate.name) : null;
    const path = easy ? `/api/wireguard/client/${id}` : `/clients/${fate.name}`;
    const answer = easy && id === null ? null : await this.call('DELETE', path);
    if (answer !== null && answer.status < 300) fate.state = 'gone';
    // Nobody else removes it: one that was acknowledged must be found.
    else if (answer !== null) expect(answer.status, answer.text).toBe(503);
  }

  private async idOf(name: string): Promise<string | null> {
    const answer = await this.call<EasyClient[]>('GET', '/api/wireguard/client');
    return answer?.status === 200 ? answer.body.find((client) => client.name === name)!.id : null;
  }

  /** Null: the connection broke, so nobody knows. */
  private async call<T>(method: string, path: string, body?: unknown): Promise<Answer<T> | null> {
    const answer = await this.panel.call<T>(method, path, body).catch(() => null);
    // Anything but these is a fault of the server, also while things die around it.
    // The contract has no other answer to a sync that failed than 500.
    const allowed = path === '/sync' ? [200, 409, 500] : [200, 201, 204, 503];
    if (answer !== null) expect(allowed, `${method} ${path}: ${answer.text}`).toContain(answer.status);
    // Who is told that it is down asks again when it is not.
    if (answer !== null && answer.status >= 500) {
      await eventually(async () => (await this.panel.call('GET', '/clients')).status === 200, { timeoutMs: 60_000 });
    }
    return answer;
  }
}

async function postmaster(): Promise<number> {
  const file = await readFile(join(server.dataDir, 'postgres/data/postmaster.pid'), 'utf8');
  return Number(file.split('\n')[0]);
}

async function killPostgres(): Promise<void> {
  try {
    process.kill(await postmaster(), 'SIGKILL');
  } catch (error) {
    // Killed before, and not back yet.
    if (!['ESRCH', 'ENOENT'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  }
}

async function query<T extends object>(text: string): Promise<T[]> {
  const file = await readFile(join(server.dataDir, 'postgres/connection.json'), 'utf8');
  const { password, socketFolder } = JSON.parse(file) as { password: string; socketFolder: string };
  const client = new Client({ user: 'causeway', database: 'causeway', password, host: socketFolder });
  await client.connect();
  try {
    return (await client.query<T>(text)).rows;
  } finally {
    await client.end();
  }
}

/** Peers that traffic may come from: public key to the first of the allowed IPs. */
async function peers(): Promise<Map<string, string>> {
  const { stdout } = await server.exec(['wg', 'show', 'wg0', 'allowed-ips']);
  const rows = stdout.split('\n').flatMap((line) => (line === '' ? [] : [line.split('\t') as [string, string]]));
  return new Map(rows.filter(([, ips]) => ips !== '(none)').map(([key, ips]) => [key, ips.split(' ')[0]!]));
}

describe('kill -9 of server and database at any moment', () => {
  it(`keeps every promise that was made (seed ${seed})`, { timeout: 120_000 + operations * 1_000 }, async () => {
    server = await startServer({ embedded: true, env: { SYNC_INTERVAL: '1' } });
    try {
      expect(await run(dice(seed))).toBe(operations);
    } catch (error) {
      throw new Error(`${String(error)}\nThe server's log:\n${server.logs().slice(-8_000)}`, { cause: error });
    }
  });
});

/** Gives the number of operations that all promises were kept over. */
async function run(roll: (sides: number) => number): Promise<number> {
  const panel = await install(server);
  traveller = await connectClient(server, await panel.create('traveller'));
  const operator = new Operator(panel, roll);

  while (operator.done < operations) {
    const until = Math.min(operations, operator.done + operationsPerRound);
    const moment = operator.done + 1 + roll(until - operator.done);
    const victims = (['server', 'database', 'both'] as const)[roll(3)]!;
    const kill = async (): Promise<void> => {
      await eventually(() => operator.done >= moment, { timeoutMs: 60_000, intervalMs: 1 });
      const at = performance.now() + roll(40);
      await eventually(() => performance.now() >= at, { intervalMs: 1 });
      if (victims !== 'server') await killPostgres();
      if (victims === 'database') return;
      operator.gate = server.kill9().then(() => server.start());
      await operator.gate;
      // The process that refused them takes them back, and it died with the database away.
      if (victims === 'both') operator.forgetRefusals();
    };
    const travel = traveller.download(300_000, { timeoutMs: 60_000 });
    await Promise.all([kill(), travel, ...Array.from({ length: callersAtOnce }, () => operator.work(until))]);
    await eventually(async () => (await panel.call('POST', '/sync')).status === 200, { timeoutMs: 60_000 });
    await check(panel, operator, `after ${until} operations, kill of ${victims}`);
  }
  return operations;
}

async function check(panel: CandyPanel, operator: Operator, when: string): Promise<void> {
  const said = [...operator.fates.values()];
  const fates = (state: Fate['state']) => said.filter((fate) => fate.state === state);
  const listed = async () => new Map((await panel.call<CandyClient[]>('GET', '/clients')).body.map((c) => [c.name, c]));

  // What was answered with an error while the database was away is taken back once that is possible.
  await eventually(
    async () => {
      const clients = await listed();
      expect(
        fates('refused').filter(({ name }) => clients.has(name)),
        `refused, ${when}`,
      ).toEqual([]);
      const [left] = await query<{ n: string }>('SELECT count(*) AS n FROM clients WHERE removed_at IS NOT NULL');
      expect(left, `removals under way, ${when}`).toEqual({ n: '0' });
      return true;
    },
    { timeoutMs: 20_000 },
  );
  const clients = await listed();
  const missing = fates('there').filter(({ name, address }) => clients.get(name)?.address !== address);
  expect(missing, `lost, ${when}`).toEqual([]);
  expect(
    fates('gone').filter(({ name }) => clients.has(name)),
    `back, ${when}`,
  ).toEqual([]);
  const known = new Set(['traveller', ...said.map(({ name }) => name)]);
  expect(
    [...clients.keys()].filter((name) => !known.has(name)),
    `nobody's, ${when}`,
  ).toEqual([]);
  const easy = await request<EasyClient[]>(panel.server, 'GET', '/api/wireguard/client', { token: panel.token });
  expect(easy.body.map(({ name }) => name).sort()).toEqual([...clients.keys()].sort());

  const addresses = [...clients.values()].map(({ address }) => address);
  expect(new Set(addresses).size, `addresses, ${when}`).toBe(addresses.length);
  const wanted = [...clients.values()].map((client): [string, string] => [client.public_key, `${client.address}/32`]);
  expect(await peers(), `peers, ${when}`).toEqual(new Map(wanted));
  // Every address that was ever handed out is somebody's, or free, or the server's own.
  const [pool] = await query(
    `SELECT i.next_host - 1 AS given,
            (SELECT count(*) FROM clients) + (SELECT count(*) FROM free_addresses) + 1 AS known,
            (SELECT count(*) FROM clients c JOIN free_addresses f USING (interface_id, address)) AS twice
       FROM wireguard_interfaces i`,
  );
  expect(pool, when).toEqual({ given: (pool as { known: string }).known, known: expect.any(String), twice: '0' });
  // Fates that the list has settled are settled.
  for (const fate of fates('open')) {
    const client = clients.get(fate.name);
    fate.state = client === undefined ? 'gone' : 'there';
    fate.address = client?.address ?? '';
  }

  await checkBooks(panel, clients.get('traveller')!.public_key, when);
}

/** The device outlives all kills: its counters are the truth, and the books must agree to the byte. */
async function checkBooks(panel: CandyPanel, key: string, when: string): Promise<void> {
  const counters = async (): Promise<string> => {
    const { stdout } = await server.exec(['wg', 'show', 'wg0', 'transfer']);
    return stdout.split('\n').find((line) => line.startsWith(key)) ?? '';
  };
  // A keepalive may come between the two looks.
  const booked = await eventually(async () => {
    const before = await counters();
    await panel.sync();
    const { used_trafic: used } = await panel.client('traveller');
    return before === (await counters()) && { line: before, used };
  });
  const [, rx, tx] = booked.line.split('\t');
  expect(booked.used, `books, ${when}`).toEqual({ download: Number(tx), upload: Number(rx) });
  const sums = await query(
    `SELECT c.rx_booked + c.tx_booked - (SELECT coalesce(sum(rx + tx), 0) FROM usage_days d
                                          WHERE (d.kind, d.subject_id) = (c.kind, c.subject_id)) AS difference
       FROM usage_counters c`,
  );
  expect(new Set(sums.map((row) => Number((row as { difference: string }).difference))), `days, ${when}`).toEqual(
    new Set([0]),
  );
}
