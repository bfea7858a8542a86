// What is measured, each beside the bare loop, in turns.
import { setTimeout as delay } from 'node:timers/promises';
import { readFileSync } from 'node:fs';
import { measureCutOff } from './cut-off.mjs';
import { endDevice } from './hosts.mjs';
import { DEVICE, PORT } from './installation.mjs';
import { median, result } from './report.mjs';

const AT_ONCE = 8;
const SLICE = 400;

export const measures = { create, change, list, sync, cutoff: measureCutOff, get, start, memory };

/** Makes clients on all sides, and takes them away again. */
async function create(bench) {
  const { big, small, bare } = bench;
  const of = { bare: [], growth: [] };
  const seen = { bare: [], big: [], small: [] };
  const cpu = { bare: [], big: [] };
  for (let round = 0; round <= bench.rounds; round += 1) {
    const before = { bare: cpuMs(bare.pid), big: cpuMs(big.pid) };
    const byHand = SLICE / (await bare.work.ask('create', { count: SLICE, atOnce: AT_ONCE }));
    const many = await makeClients(big, SLICE);
    for (const side of ['bare', 'big']) cpu[side].push((cpuMs(bench[side].pid) - before[side]) / SLICE);
    const few = await makeClients(small, SLICE);
    await bare.work.ask('remove', { atOnce: AT_ONCE });
    for (const [server, made] of [
      [big, many],
      [small, few],
    ]) {
      await server.send(
        made.clients.map(({ name }) => remove(name)),
        { atOnce: AT_ONCE },
      );
    }
    await settle(bench);
    // The first round warms up.
    if (round === 0) continue;
    of.bare.push(many.rate / byHand);
    of.growth.push(many.rate / few.rate);
    seen.bare.push(byHand);
    seen.big.push(many.rate);
    seen.small.push(few.rate);
  }
  return [
    result(`POST /api/wireguard/client with QR, ${AT_ONCE} at once, ${count(bench)}: of the bare loop`, of.bare, {
      goal: 0.5,
      better: 'higher',
      seen: `${perSecond(seen.big)} and ${perSecond(seen.bare)}; ${microseconds(median(cpu.big))} and ${microseconds(median(cpu.bare))} of CPU each`,
    }),
    result(`the same at ${count(bench)} against at 100`, of.growth, {
      goal: 0.85,
      better: 'higher',
      seen: `${perSecond(seen.big)} and ${perSecond(seen.small)}`,
    }),
  ];
}

/** Disables and removes; then the same again, slower, with an eye on the device. */
async function change(bench) {
  const { big, bare } = bench;
  const of = { disable: [], remove: [], gone: [] };
  const seen = { disable: { bare: [], big: [] }, remove: { bare: [], big: [] } };
  const cpu = { disable: { bare: [], big: [] }, remove: { bare: [], big: [] } };
  for (let round = 0; round <= bench.rounds; round += 1) {
    await bare.work.ask('create', { count: SLICE, atOnce: AT_ONCE });
    const { clients } = await makeClients(big, SLICE);
    for (const [kind, request] of [
      ['disable', disable],
      ['remove', remove],
    ]) {
      await delay(1000);
      const byHand = SLICE / (await bare.work.ask(kind, { atOnce: AT_ONCE }));
      const { ms } = await big.send(
        clients.map(({ name }) => request(name)),
        { atOnce: AT_ONCE },
      );
      await settle(bench);
      if (round === 0) continue;
      of[kind].push(SLICE / ms / byHand);
      seen[kind].bare.push(byHand);
      seen[kind].big.push(SLICE / ms);
    }
  }
  for (let round = 0; round < 2 * bench.rounds; round += 1) {
    const { clients } = await makeClients(big, 40);
    const request = round % 2 === 0 ? disable : remove;
    of.gone.push(await slowestToLeave(big, clients, request));
    if (request === disable)
      await big.send(
        clients.map(({ name }) => remove(name)),
        { atOnce: AT_ONCE },
      );
    await settle(bench);
  }
  return [
    result(`DELETE, ${AT_ONCE} at once, ${count(bench)}: of the bare loop`, of.remove, {
      goal: 0.4,
      better: 'higher',
      seen: `${perSecond(seen.remove.big)} and ${perSecond(seen.remove.bare)}; ${microseconds(median(cpu.remove.big))} and ${microseconds(median(cpu.remove.bare))} of CPU each`,
    }),
    result(`PUT (disable), ${AT_ONCE} at once, ${count(bench)}: of the bare loop`, of.disable, {
      goal: 0.4,
      better: 'higher',
      seen: `${perSecond(seen.disable.big)} and ${perSecond(seen.disable.bare)}; ${microseconds(median(cpu.disable.big))} and ${microseconds(median(cpu.disable.bare))} of CPU each`,
    }),
    slowest('from the answer of DELETE or PUT until the peer is off the device, the slowest', of.gone, 1),
  ];
}

async function list(bench) {
  const results = [];
  for (const [path, work] of [
    ['/clients', 'listWithKeys'],
    ['/api/wireguard/client', 'list'],
  ]) {
    const seen = { bare: [], big: [] };
    const ratios = [];
    for (let round = 0; round <= bench.rounds; round += 1) {
      const byHand = [];
      const asked = [];
      for (let turn = 0; turn < 4; turn += 1) {
        byHand.push((await bench.bare.work.ask(work)).ms);
        const { ms, bytes } = await bench.big.send([{ method: 'GET', path }]);
        if (bytes < bench.clients * 150) throw new Error(`${path} answered ${bytes} bytes`);
        asked.push(ms);
      }
      if (round === 0) continue;
      ratios.push(median(byHand) / median(asked));
      seen.bare.push(median(byHand));
      seen.big.push(median(asked));
    }
    results.push(
      result(`GET ${path}, ${count(bench)}: of the bare loop`, ratios, {
        goal: 0.7,
        better: 'higher',
        seen: `${milliseconds(seen.big)} and ${milliseconds(seen.bare)}`,
      }),
    );
  }
  return results;
}

/** All peers have moved since the last sync: not on the device but in the books, which is the same to both sides. */
async function sync(bench) {
  const { databases, big, bare } = bench;
  await setInterval(big, '3600');
  const seen = { bare: [], big: [] };
  for (let round = 0; round <= bench.rounds; round += 1) {
    for (const name of ['bare', 'big']) {
      await databases.query(
        name,
        `UPDATE usage_counters SET rx_last = rx_last - 1000, tx_last = tx_last - 5000
          WHERE subject_id IN (SELECT id FROM clients)`,
      );
      await databases.query(name, 'VACUUM usage_counters');
    }
    const byHand = await bare.work.ask('sync');
    if (byHand.moved < bench.clients) throw new Error(`The bare loop booked ${byHand.moved} clients`);
    const { ms } = await big.send([{ method: 'POST', path: '/sync' }]);
    const { rows } = await databases.query(
      'big',
      'SELECT count(*) AS left FROM usage_counters u JOIN clients c ON c.id = u.subject_id WHERE rx_last < 0',
    );
    if (Number(rows[0].left) > 0) throw new Error(`The server left out ${rows[0].left} clients`);
    if (round === 0) continue;
    seen.bare.push(byHand.ms);
    seen.big.push(ms);
  }
  await setInterval(big, '10');
  return [
    result(
      `one sync of ${bench.clients} active peers: times the bare loop`,
      seen.big.map((ms, at) => ms / seen.bare[at]),
      { goal: 1.5, better: 'lower', seen: `${milliseconds(seen.big)} and ${milliseconds(seen.bare)}` },
    ),
  ];
}

/** The way through hooks, guard and serializer, without any work behind it. */
async function get(bench) {
  const { big, bare } = bench;
  await bare.work.ask('serve', { port: PORT });
  const seen = { bare: [], big: [] };
  // Short turns: what else runs on the machine meanwhile shall touch both alike.
  const turns = 3 * bench.rounds;
  for (const [side, host, token] of [
    ['bare', bare.host, null],
    ['big', big.host, big.token],
  ]) {
    await wrk(host, token, 3);
    seen[side].cpu = cpuMs(bench[side].pid);
  }
  for (let turn = 0; turn < turns; turn += 1) {
    seen.bare.push(await wrk(bare.host, null, 1));
    seen.big.push(await wrk(big.host, big.token, 1));
  }
  const cost = (side) => (cpuMs(bench[side].pid) - seen[side].cpu) / (seen[side].reduce((a, b) => a + b) * 1000);
  return [
    result(
      'GET /api/session with a token, wrk, 8 connections: of bare Fastify',
      seen.big.map((rate, at) => rate / seen.bare[at]),
      {
        goal: 0.4,
        better: 'higher',
        seen: `${perSecond(seen.big)} and ${perSecond(seen.bare)}; ${microseconds(cost('big'))} and ${microseconds(cost('bare'))} of CPU each`,
      },
    ),
  ];
}

/** Each time with no device there. */
async function start(bench) {
  const { big, empty, bare } = bench;
  await big.stop();
  const seen = { bare: [], big: [], empty: [] };
  for (let round = 0; round < bench.rounds; round += 1) {
    await endDevice(bare.host, DEVICE);
    seen.bare.push(await bare.makeDevice());
    for (const [server, name, peers] of [
      [empty, 'empty', 0],
      [big, 'big', bench.clients],
    ]) {
      await endDevice(server.host, DEVICE);
      seen[name].push(await server.start());
      const there = await server.beside.ask('countPeers', { device: DEVICE });
      if (there < peers) throw new Error(`${server.name} says that it is up with ${there} peers`);
      await server.stop();
    }
  }
  await big.start();
  return [
    result(
      `start with ${count(bench)}, over an empty start: times a bare bulk set`,
      seen.big.map((ms, at) => (ms - seen.empty[at]) / seen.bare[at]),
      {
        goal: 1.5,
        better: 'lower',
        seen: `${milliseconds(seen.big)} less ${milliseconds(seen.empty)}, and ${milliseconds(seen.bare)}`,
      },
    ),
  ];
}

/** After two polls and nothing else since its start. */
async function memory(bench) {
  const { big } = bench;
  const loaded = residentMb(big.pid);
  await big.stop();
  await big.start();
  await delay(25_000);
  const idle = residentMb(big.pid);
  return [
    result(`resident memory of the Node process, idle, ${count(bench)}`, [idle], {
      goal: 250,
      better: 'lower',
      unit: ' MB',
      seen: `${Math.round(loaded)} MB before it was started again`,
    }),
  ];
}

async function makeClients(server, howMany) {
  const names = Array.from({ length: howMany }, () => `made-${(serial += 1)}`);
  const requests = names.map((name) => ({ method: 'POST', path: '/api/wireguard/client', body: { name } }));
  const { ms, bodies } = await server.send(requests, { atOnce: AT_ONCE, keep: 'bodies' });
  return { rate: howMany / ms, clients: bodies };
}
let serial = 0;

const remove = (name) => ({ method: 'DELETE', path: `/clients/${name}` });
const disable = (name) => ({ method: 'PUT', path: `/clients/${name}`, body: { status: false } });

/** Seconds between an answer and a reading of the device without the peer: readings come every tenth of a second. */
async function slowestToLeave(server, clients, request) {
  const keys = clients.map(({ publicKey }) => Buffer.from(publicKey, 'base64').toString('hex'));
  const sent = server.send(
    clients.map(({ name }) => request(name)),
    { atOnce: AT_ONCE, keep: 'times' },
  );
  const goneAt = await server.beside.ask('watchLeaving', { device: DEVICE, keys, limitMs: 5000 });
  const { answeredAt } = await sent;
  return Math.max(...keys.map((key, at) => ((goneAt[key] ?? Infinity) - answeredAt[at]) / 1000));
}

/** Until nobody is on the way out any more, on either server. */
async function settle({ databases }) {
  for (const name of ['big', 'small']) {
    for (;;) {
      const { rows } = await databases.query(name, 'SELECT 1 FROM clients WHERE removed_at IS NOT NULL LIMIT 1');
      if (rows.length === 0) break;
      await delay(50);
    }
  }
}

/** Requests a millisecond. */
async function wrk(host, token, lasting) {
  const header = token === null ? [] : ['-H', `Authorization: Bearer ${token}`];
  const url = `http://127.0.0.1:${PORT}/api/session`;
  const text = await host.run(['wrk', '-t1', '-c8', `-d${lasting}s`, ...header, url]);
  const rate = Number(/Requests\/sec:\s+([\d.]+)/.exec(text)?.[1]);
  if (!(rate > 0) || /Non-2xx/.test(text)) throw new Error(`wrk says: ${text}`);
  return rate / 1000;
}

export function setInterval(server, seconds) {
  return server.call('PUT', '/settings/sync_interval', { value: seconds });
}

/** A promise about each single time: the slowest counts. */
export function slowest(name, times, goal) {
  const round = (value) => Number(value.toPrecision(3));
  const value = round(Math.max(...times));
  const seen = `median ${round(median(times))} s of ${times.length}`;
  return { name, value, goal, better: 'lower', spread: times.map(round), unit: ' s', seen };
}

function residentMb(pid) {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) / 1024;
}

/** What a process has used of the processors, in steps of 10 ms. */
function cpuMs(pid) {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

function microseconds(ms) {
  return `${Math.round(ms * 1000)} µs`;
}

function count({ clients }) {
  return `${clients.toLocaleString('en-US')} clients`;
}

/** Rates are per millisecond. */
function perSecond(rates) {
  return `${Math.round(median(rates) * 1000).toLocaleString('en-US')}/s`;
}

function milliseconds(times) {
  return `${Math.round(median(times))} ms`;
}
