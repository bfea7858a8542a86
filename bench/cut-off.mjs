// From the first byte past a quota until nothing comes through any more, on real traffic.
import { setTimeout as delay } from 'node:timers/promises';
import { endDevice, makeDevice } from './hosts.mjs';
import { setInterval, slowest } from './measures.mjs';

const POLL_SECONDS = 1;
const ALLOWED_BEYOND_SECONDS = 0.5;
const DEVICE = 'wg1';
const IN_TUNNEL = '10.0.0.1';

/** Each client may use one byte: it is past that when its first ping is answered, and cut off at the last answer. */
export async function measureCutOff(bench) {
  const { big, far } = bench;
  await setInterval(big, String(POLL_SECONDS));
  const times = [];
  for (let round = 0; round < 2 * bench.rounds; round += 1) {
    const name = `greedy-${round}`;
    const made = await big.call('POST', '/clients', { name, expires: '', traffic: '1', wg_id: 0 });
    await connect(far, made.data.client_config);
    // Rounds begin at any moment between two polls.
    await delay(Math.random() * POLL_SECONDS * 1000);
    const text = await far.run(['ping', '-n', '-D', '-i', '0.02', '-w', '5', IN_TUNNEL]).catch((error) => error.stdout);
    const answers = [...text.matchAll(/^\[([\d.]+)\] \d+ bytes from/gm)].map((match) => Number(match[1]));
    if (answers.length < 2) throw new Error(`No answers through the tunnel: ${text.slice(0, 300)}`);
    const [first, last] = [answers[0], answers.at(-1)];
    times.push(last - first);
    await endDevice(far, DEVICE);
    await big.call('DELETE', `/clients/${name}`);
  }
  await setInterval(big, '10');
  const goal = POLL_SECONDS + ALLOWED_BEYOND_SECONDS;
  const what = `from over quota on the device to cut off, ${bench.clients.toLocaleString('en-US')} peers`;
  return [slowest(`${what}, polls every ${POLL_SECONDS} s, the slowest`, times, goal)];
}

async function connect(far, config) {
  const value = (key) => new RegExp(`^${key} = (.*)$`, 'm').exec(config)[1];
  await makeDevice(far, DEVICE);
  const stripped = config
    .replace(/^(Address|DNS|MTU) = .*\n/gm, '')
    .replace(/^AllowedIPs = .*$/m, `AllowedIPs = ${IN_TUNNEL}/32`);
  const set = `wg setconf ${DEVICE} /dev/stdin <<'END'\n${stripped}\nEND\n`;
  await far.run(['sh', '-c', set]);
  await far.run(['ip', 'address', 'add', value('Address'), 'dev', DEVICE]);
  await far.run(['ip', 'link', 'set', DEVICE, 'up']);
  await far.run(['ip', 'route', 'add', `${IN_TUNNEL}/32`, 'dev', DEVICE]);
}
