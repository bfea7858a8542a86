// Runs inside the namespaces that scripts/bench.mjs made: servers and bare loops on hosts of their own, measured in
// turns. `npm run bench -- create list` measures only these; `--rounds=3`, `--clients=1000`, `--profile=<folder>`.
import { randomBytes } from 'node:crypto';
import { cpSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { enterNamespaces } from '../scripts/namespaces.mjs';
import { startPostgres } from '../scripts/postgres.mjs';
import { root } from '../scripts/setup.mjs';
import { connectHosts, makeDevice, newHost, startWorker } from './hosts.mjs';
import { Databases, DEVICE, seed, Server } from './installation.mjs';
import { measures } from './measures.mjs';
import { printTable } from './report.mjs';

const folder = process.env.CAUSEWAY_BENCH_FOLDER;
const disk = process.env.CAUSEWAY_BENCH_DISK;
const mode = process.env.CAUSEWAY_BENCH_MODE;
if (!folder || !disk || !mode) throw new Error('Run this through npm run bench');

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '5' },
    clients: { type: 'string', default: '10000' },
    profile: { type: 'string' },
  },
});
const chosen = positionals.length === 0 ? Object.keys(measures) : positionals;
for (const name of chosen) {
  if (!(name in measures)) throw new Error(`There is no measure ${name}, only ${Object.keys(measures).join(', ')}`);
}

const began = performance.now();
enterNamespaces(folder);
const product = copyProduct();
const postgres = await startPostgres(join(disk, 'postgres'), mode, {
  max_connections: '100',
  log_min_messages: 'panic',
});
try {
  const bench = await prepare(Number(flags.clients), Number(flags.rounds));
  const results = [];
  for (const name of chosen) {
    say(name);
    results.push(...(await measures[name](bench)));
  }
  printTable(results);
  const missed = results.filter(({ value, goal, better }) => (better === 'higher' ? value < goal : value > goal));
  console.log(`\n${results.length - missed.length} of ${results.length} goals reached, ${seconds()} s`);
  if (chosen.length === Object.keys(measures).length && bench.clients === 10_000) {
    const latest = results.map(({ name, value, goal, better }) => ({ name, value, goal, better }));
    mkdirSync(join(root, 'bench/results'), { recursive: true });
    writeFileSync(join(root, 'bench/results/latest.json'), `${JSON.stringify(latest, null, 2)}\n`);
  }
  if (flags.profile) for (const server of [bench.big, bench.small]) await server.stop();
} finally {
  await postgres.stop();
}
// What still runs ends with the namespaces.
process.exit();

/** One installation, copied: with many clients, with a hundred, with none; and a bare loop with as many. */
async function prepare(clients, rounds) {
  const databases = new Databases(postgres.socketFolder);
  const secretKey = randomBytes(32).toString('base64');
  const shared = { product, folder, secretKey };
  const serverOn = async (name) => {
    const host = await newHost();
    return new Server({ ...shared, name, host, databaseUrl: databases.url(name), profile: flags.profile });
  };

  say('installing');
  await databases.ready();
  await databases.create('fresh');
  const empty = await serverOn('fresh');
  await empty.start();
  await empty.install('198.18.0.2');
  await empty.stop();

  say(`seeding ${clients} clients`);
  await databases.create('big', 'fresh');
  const nextHost = await seed(databases, 'big', { ...shared, count: clients });
  await databases.create('small', 'fresh');
  await seed(databases, 'small', { ...shared, count: 100 });
  await databases.create('bare', 'big');

  say('starting');

  const [big, small] = [await serverOn('big'), await serverOn('small')];
  for (const server of [big, small]) {
    say(`${server.name} is up after ${Math.round(await server.start())} ms`);
    server.token = empty.token;
  }
  const far = await newHost();
  await connectHosts(big.host, far, { nearAddress: '198.18.0.2', farAddress: '198.18.0.1' });

  const bare = { host: await newHost() };
  bare.work = startWorker(bare.host, join(root, 'bench/bare.mjs'), {});
  const { rows } = await databases.query('bare', 'SELECT id, public_key FROM wireguard_interfaces');
  bare.pid = bare.work.pid;
  const server = { interfaceId: rows[0].id, publicKey: rows[0].public_key, endpoint: '198.18.0.2:51820' };
  await bare.work.ask('open', { databaseUrl: databases.url('bare'), secretKey, server, nextHost });
  bare.makeDevice = async () => {
    await makeDevice(bare.host, DEVICE);
    await bare.host.run(['ip', 'address', 'add', '10.0.0.1/16', 'dev', DEVICE]);
    await bare.host.run(['ip', 'link', 'set', DEVICE, 'up', 'mtu', '1420']);
    return bare.work.ask('bulkSet', { device: DEVICE });
  };
  await bare.makeDevice();
  say(`ready after ${seconds()} s`);
  return { clients, rounds, databases, empty, big, small, bare, far, say };
}

/** The product as it was built when the run began, which a build during the run must not change. */
function copyProduct() {
  const target = join(folder, 'product');
  mkdirSync(target);
  cpSync(process.env.TEST_DIST || join(root, 'dist'), join(target, 'dist'), { recursive: true });
  cpSync(join(root, 'package.json'), join(target, 'package.json'));
  symlinkSync(join(root, 'node_modules'), join(target, 'node_modules'));
  return target;
}

function say(text) {
  console.log(`${String(Math.round((performance.now() - began) / 1000)).padStart(4)} s  ${text}`);
}

function seconds() {
  return Math.round((performance.now() - began) / 1000);
}
