// Runs inside the namespaces that demo.mjs made: one client from its making to its end, on real traffic, each step with
// what was seen. The first thing that is not as it should be ends it with exit code 1.
import { execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { enterNamespaces } from './namespaces.mjs';
import { root } from './setup.mjs';

const folder = process.env.CAUSEWAY_DEMO_FOLDER;
if (folder === undefined) throw new Error('Run this through npm run demo');

const execute = promisify(execFile);
const trafficProgram = join(root, 'test/support/traffic.mjs');
const admin = { username: 'admin', password: randomBytes(12).toString('base64url') };
const setupToken = randomBytes(12).toString('base64url');
const MB = 1_000_000;
const quota = 20 * MB;

/** Addresses of the two cables: this namespace, which plays the internet, to the server, and the client to the server. */
const net = { internet: '198.18.0.1', server: '198.18.0.2', serverToClient: '198.18.0.5', client: '198.18.0.6' };
const inTunnel = '10.0.0.1';
const base = `http://${net.server}:8000`;

let stepCount = 0;
let log = '';
let token = null;

const began = Date.now();
enterNamespaces(folder);
try {
  await demo();
  console.log(`\nAll of it is as it should be, ${seconds(began)} s.`);
} catch (error) {
  console.error(`\nFAILED at step ${stepCount}: ${error.message}`);
  const tail = log.trim().split('\n').slice(-15).join('\n');
  if (tail !== '') console.error(`\nThe last lines of the server:\n${tail}`);
  process.exitCode = 1;
}
// What still runs ends with the namespaces.
process.exit();

async function demo() {
  step('A server on a host of its own: built product, embedded PostgreSQL, empty DATA_DIR');
  const host = await newHost();
  const far = await newHost();
  await connectHosts(host, far);
  let server = await startServer(host);
  // The database may be known to be ready a moment before the engines are.
  const parts = await until('WireGuard', 15, async () => {
    const { parts: known } = await call('GET', '/readyz').catch(() => ({ parts: [] }));
    return known.some((part) => part.name === 'wireguard' && part.state === 'up') ? known : null;
  });
  const engine = parts.find((part) => part.name === 'wireguard');
  saw(`answers after ${server.seconds} s: ${parts.map((part) => `${part.name} ${part.state}`).join(', ')}`);

  step('CandyPanel API: install and log in');
  await call('POST', '/install', {
    headers: { 'x-setup-token': setupToken },
    body: { server_ip: net.server, wg_port: '51820', admin_user: admin.username, admin_password: admin.password },
  });
  token = (await call('POST', '/login', { body: admin })).access_token;
  const port = await host.must(['wg', 'show', 'wg0', 'listen-port']);
  saw(
    `POST /install, POST /login: 200; wg0 listens on UDP ${port}, ${(await call('GET', '/readyz')).parts.find((part) => part.name === engine.name).message}`,
  );

  step(`CandyPanel API: make a client that may use ${mb(quota)}`);
  const made = await call('POST', '/clients', {
    body: { name: 'demo', expires: '', traffic: String(quota), wg_id: 0 },
  });
  const file = made.data.client_config;
  const { address } = await client();
  saw(`POST /clients: 200, a config file of ${file.length} characters, address ${address}`);

  step('A second host connects with that file through wireguard-go');
  check(!(await far.pings(net.internet)), 'the client reaches the internet without a tunnel');
  saw(`before: ${net.internet} (the internet) does not answer, the only cable ends at the server`);
  await connect(far, file);
  await until('an answer through the tunnel', 10, () => far.pings(inTunnel));
  await until('an answer of the internet', 5, () => far.pings(net.internet));
  saw(`after: ${inTunnel} (the server) and ${net.internet} (the internet, through the server's NAT) answer`);

  step('Traffic is counted');
  const listener = await serveTraffic();
  const down = await transfer(far, listener, 'download', 6 * MB).done;
  const up = await transfer(far, listener, 'upload', 2 * MB).done;
  check(down.complete && up.complete, `a transfer did not complete: ${JSON.stringify({ down, up })}`);
  saw(`moved ${mb(down.bytes)} down in ${down.ms} ms and ${mb(up.bytes)} up in ${up.ms} ms`);
  const counted = await untilBooked(host);
  checkCount(counted.download, down.bytes, 'download');
  checkCount(counted.upload, up.bytes, 'upload');
  check(counted.connected, 'connected_now is false');
  saw(`POST /sync, GET /clients/demo: download ${bytes(counted.download)}, upload ${bytes(counted.upload)}, connected`);
  saw('wg show wg0 transfer says the same to the byte');

  step('wg-easy API: the same client');
  const session = await call('POST', '/api/session', { body: { password: admin.password } });
  const seen = await wgEasyClient(session.sessionToken);
  check(seen.address === address && seen.enabled, `wg-easy shows ${JSON.stringify(seen)}`);
  check(
    seen.transferTx >= counted.download && seen.transferRx >= counted.upload,
    `wg-easy counts ${seen.transferTx} and ${seen.transferRx}`,
  );
  saw(`POST /api/session: 200; GET /api/wireguard/client/${seen.id.slice(0, 8)}…: ${seen.address}, enabled,`);
  saw(
    `transferTx ${bytes(seen.transferTx)}, transferRx ${bytes(seen.transferRx)}, handshake ${seen.latestHandshakeAt}`,
  );

  step('Over the quota the client is cut off');
  const greedy = transfer(far, listener, 'download', 1000 * MB, 5 * MB);
  const ended = await until('the cut-off', 30, async () => {
    const now = await client();
    return now.status ? null : now;
  });
  check(!(await far.pings(inTunnel)), 'the tunnel still answers');
  greedy.stop();
  const got = await greedy.done;
  check(!got.complete, 'the download completed');
  await until('the end of the peer', 5, async () => (await host.must(['wg', 'show', 'wg0', 'peers'])) === '');
  const over = await client();
  saw(`a download at 5 MB/s ended after ${mb(got.bytes)}; used ${mb(used(ended))} of ${mb(quota)}, status false`);
  saw(`wg0 has no peer, nothing answers; wg-easy: enabled ${(await wgEasyClient(session.sessionToken)).enabled}`);

  step('Given more, it works again with the same file');
  const more = used(over) + 100 * MB;
  await call('PUT', '/clients/demo', { body: { traffic: String(more) } });
  const since = Date.now();
  check((await client()).status, 'status is still false');
  await until('the tunnel to work again', 40, () => far.pings(inTunnel));
  const { config } = (await call('GET', '/clients/demo/config')).data;
  check(config === file, 'the config file has changed');
  const again = await transfer(far, listener, 'download', 3 * MB).done;
  check(again.complete, 'the download did not complete');
  saw(
    `PUT /clients/demo to ${mb(more)}: back after ${seconds(since)} s, untouched at the client; moved ${mb(again.bytes)}`,
  );

  step('The server is killed (SIGKILL) in the middle of a download, and started again');
  const before = await untilBooked(host, over);
  const long = transfer(far, listener, 'download', 24 * MB, 4 * MB);
  await until('traffic', 10, async () => (await transferred(host)).tx > before.device.tx + 2 * MB);
  await server.kill();
  const atKill = (await transferred(host)).tx;
  check(!(await answers()), 'the server still answers');
  await until('traffic without a server', 10, async () => (await transferred(host)).tx > atKill + 2 * MB);
  saw(`killed; ${mb((await transferred(host)).tx - atKill)} more went through with no server there`);
  server = await startServer(host);
  const whole = await long.done;
  check(whole.complete && whole.bytes === 24 * MB, `the download broke: ${JSON.stringify(whole)}`);
  saw(`started again, answers after ${server.seconds} s; the same download went on and completed: ${mb(whole.bytes)}`);
  const after = await untilBooked(host, over);
  checkCount(after.download - before.download, whole.bytes, 'download across the kill');
  saw(
    `total ${bytes(used(before.client))} before, ${bytes(used(after.client))} after: ${mb(used(after.client) - used(before.client))} more, none lost or doubled`,
  );
  const { transferRx, transferTx } = await wgEasyClient(session.sessionToken);
  check(transferRx + transferTx >= used(after.client), 'wg-easy has other totals');
  await until('an answer of the internet', 5, () => far.pings(net.internet));
  saw('tokens of before still count, wg-easy has the same totals, the tunnel works');

  step('wg-easy API: delete the client');
  await call('DELETE', `/api/wireguard/client/${seen.id}`, { token: session.sessionToken, status: 204 });
  check(!(await far.pings(inTunnel)), 'the tunnel still answers');
  await call('GET', '/clients/demo', { status: 404 });
  saw('DELETE: 204; CandyPanel says 404, the tunnel is silent');
  const code = await server.stop();
  check(code === 0, `the server ended with ${code} on SIGTERM`);
  saw('SIGTERM: the server ends with exit code 0');
}

// What is looked at

function client() {
  return call('GET', '/clients/demo');
}

function used({ used_trafic: { download, upload } }) {
  return download + upload;
}

async function wgEasyClient(sessionToken) {
  const list = await call('GET', '/api/wireguard/client', { token: sessionToken });
  check(list.length === 1 && list[0].name === 'demo', `wg-easy lists ${JSON.stringify(list)}`);
  return call('GET', `/api/wireguard/client/${list[0].id}`, { token: sessionToken });
}

/** What the device has counted for its one peer since that was added. */
async function transferred(host) {
  const [, rx, tx] = (await host.must(['wg', 'show', 'wg0', 'transfer'])).split(/\s+/);
  return { rx: Number(rx ?? 0), tx: Number(tx ?? 0) };
}

/** Waits until the books say what the device says, on top of what they said when the peer was last added. */
function untilBooked(host, start = { used_trafic: { download: 0, upload: 0 } }) {
  return until('books that agree with the device', 15, async () => {
    const device = await transferred(host);
    await call('POST', '/sync');
    const shown = await client();
    const { download, upload } = shown.used_trafic;
    const agree =
      download === start.used_trafic.download + device.tx && upload === start.used_trafic.upload + device.rx;
    return agree ? { download, upload, connected: shown.connected_now, client: shown, device } : null;
  });
}

/** WireGuard counts its own headers too, and what TCP sends twice; to count all of it twice is a fault. */
function checkCount(counted, moved, what) {
  check(counted >= moved && counted < moved * 1.9, `${what}: counted ${bytes(counted)} for ${bytes(moved)} moved`);
}

// The server

async function startServer(host) {
  const from = Date.now();
  const main = join(process.env.TEST_DIST || join(root, 'dist'), 'main.js');
  const env = {
    PATH: process.env.PATH,
    HOME: folder,
    DATA_DIR: join(folder, 'data'),
    PORT: '8000',
    SETUP_TOKEN: setupToken,
    SYNC_INTERVAL: '1',
  };
  const child = host.start([process.execPath, main], { cwd: '/', env, stdio: ['ignore', 'pipe', 'pipe'] });
  const keep = (text) => (log = (log + text).slice(-20_000));
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', keep);
  const ended = once(child, 'close');
  await until('an answer of the server', 90, async () => {
    check(child.exitCode === null, `the server ended with exit code ${child.exitCode}`);
    return answers();
  });
  const end = async (signal) => {
    child.kill(signal);
    await ended;
    return child.exitCode;
  };
  return { seconds: seconds(from), kill: () => end('SIGKILL'), stop: () => end('SIGTERM') };
}

async function answers() {
  return fetch(`${base}/healthz`, { signal: AbortSignal.timeout(2_000) }).then(
    (response) => response.ok,
    () => false,
  );
}

/** One request; anything but the expected status is a failure. */
async function call(method, path, { body, headers = {}, token: bearer = token, status = 200 } = {}) {
  const response = await fetch(`${base}${path}`, {
    method,
    headers: {
      ...(bearer === null ? {} : { authorization: `Bearer ${bearer}` }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    signal: AbortSignal.timeout(30_000),
  });
  const text = await response.text();
  check(response.status === status, `${method} ${path} answered ${response.status}: ${text.slice(0, 300)}`);
  return text === '' ? null : JSON.parse(text);
}

// Hosts, cables, tunnels

/** A network of its own, with its own folder of WireGuard sockets, as long as this process lives. */
async function newHost() {
  const script = `
    set -e
    mount -t tmpfs -o mode=0700 tmpfs /var/run/wireguard
    mount -t sysfs sysfs /sys || true
    ip link set lo up
    echo ready
    exec sleep infinity`;
  const argv = ['--pdeathsig', 'KILL', 'unshare', '--net', '--mount', 'sh', '-c', script];
  const holder = spawn('setpriv', argv, { stdio: ['ignore', 'pipe', 'inherit'] });
  await firstLine(holder, 'a namespace');
  const enter = (argvInside) => ['nsenter', '--target', String(holder.pid), '--net', '--mount', '--', ...argvInside];
  const start = (argvInside, options) => spawn('setpriv', ['--pdeathsig', 'KILL', ...enter(argvInside)], options);
  const must = (argvInside) => run(enter(argvInside));
  const pings = (address) =>
    must(['ping', '-n', '-q', '-c', '1', '-W', '1', address]).then(
      () => true,
      () => false,
    );
  return { pid: holder.pid, start, must, pings };
}

/** Two cables: internet to server, server to client. The client has no way to the internet but a tunnel. */
async function connectHosts(host, far) {
  const cable = (name, end, peer) =>
    run(['ip', 'link', 'add', name, ...end, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', String(peer.pid)]);
  await cable('internet0', [], host);
  await cable('client0', ['netns', String(host.pid)], far);
  const up = async (must, device, address) => {
    await must(['ip', 'address', 'add', `${address}/30`, 'dev', device]);
    await must(['ip', 'link', 'set', device, 'up']);
  };
  await up(run, 'internet0', net.internet);
  await up(host.must, 'eth0', net.server);
  await up(host.must, 'client0', net.serverToClient);
  await up(far.must, 'eth0', net.client);
  await host.must(['ip', 'route', 'add', 'default', 'via', net.internet]);
  await far.must(['ip', 'route', 'add', net.server, 'via', net.serverToClient]);
}

/** What `wg-quick up` does with a client's file. */
async function connect(far, text) {
  const quick = { address: [], mtu: ['1420'], dns: [] };
  const rest = [];
  const routes = [];
  for (const line of text.split('\n')) {
    const [, key = '', value = ''] = /^\s*(\w+)\s*=\s*(.*?)\s*$/.exec(line) ?? [];
    const values = value.split(/\s*,\s*/);
    if (key.toLowerCase() in quick) quick[key.toLowerCase()] = values;
    else rest.push(line);
    if (/^allowedips$/i.test(key)) routes.push(...values);
  }
  const stripped = join(folder, 'client.conf');
  writeFileSync(stripped, `${rest.join('\n')}\n`, { mode: 0o600 });
  far.start(['wireguard-go', '-f', 'wg0'], { stdio: 'ignore' });
  await until('a device of wireguard-go', 10, () =>
    far.must(['wg', 'show', 'wg0']).then(
      () => true,
      () => false,
    ),
  );
  await far.must(['wg', 'setconf', 'wg0', stripped]);
  for (const address of quick.address) await far.must(['ip', 'address', 'add', address, 'dev', 'wg0']);
  await far.must(['ip', 'link', 'set', 'mtu', quick.mtu[0], 'up', 'dev', 'wg0']);
  for (const range of routes) await far.must(['ip', 'route', 'add', range, 'dev', 'wg0']);
}

// Traffic

/** Serves bytes in this namespace, the internet; gives the port. */
async function serveTraffic() {
  const argv = ['--pdeathsig', 'KILL', process.execPath, trafficProgram, 'serve', net.internet];
  const child = spawn('setpriv', argv, { stdio: ['ignore', 'pipe', 'inherit'] });
  return Number(await firstLine(child, 'a traffic server'));
}

/** Moves bytes between the client and the internet, no faster than `rate` bytes a second when that is given. */
function transfer(far, port, verb, count, rate = 0) {
  const argv = [trafficProgram, verb, net.internet, port, count, 60_000, rate].map(String);
  const child = far.start([process.execPath, ...argv], { stdio: ['ignore', 'pipe', 'inherit'] });
  const done = firstLine(child, 'the result of a transfer').then((line) => JSON.parse(line));
  // It is awaited later; until then its failure is nobody's surprise.
  done.catch(() => {});
  return { done, stop: () => child.kill('SIGTERM') };
}

// Small things

function step(title) {
  stepCount += 1;
  console.log(`\n${String(stepCount).padStart(2)}. ${title}`);
}

function saw(text) {
  console.log(`    ${text}`);
}

function check(condition, otherwise) {
  if (!condition) throw new Error(otherwise);
}

/** Asks until there is something to return; `what` did not come otherwise. */
async function until(what, limitSeconds, attempt) {
  for (const end = Date.now() + limitSeconds * 1000; ;) {
    const value = await attempt();
    if (value) return value;
    check(Date.now() < end, `${what} did not come within ${limitSeconds} s`);
    await delay(50);
  }
}

async function firstLine(child, what) {
  const ended = once(child, 'close').then(() => {
    throw new Error(`${what} did not come`);
  });
  const [line] = await Promise.race([once(createInterface({ input: child.stdout }), 'line'), ended]);
  return line;
}

async function run([program, ...args]) {
  const { stdout } = await execute(program, args, { timeout: 15_000, killSignal: 'SIGKILL' });
  return stdout.trim();
}

function seconds(from) {
  return ((Date.now() - from) / 1000).toFixed(1);
}

function mb(count) {
  return `${(count / MB).toFixed(1)} MB`;
}

function bytes(count) {
  return `${count.toLocaleString('en-US')} B`;
}
