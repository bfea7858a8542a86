import { expect, test } from 'vitest';
import {
  bytesMoved,
  outerLinks,
  parseCpuTimes,
  parseLinks,
  parseLoad,
  parseMemory,
  parseUptime,
} from '../../src/domain/system/proc-files.js';

const NET_DEV = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 5000      10    0    0    0     0          0         0     5000      10    0    0    0     0       0          0
  eth0:123456789012 10    0    0    0     0          0         0 987654321098      10    0    0    0     0       0          0
   wg0: 700       10    0    0    0     0          0         0      800      10    0    0    0     0       0          0
eth0.7: 1 0 0 0 0 0 0 0 2 0 0 0 0 0 0 0
docker0: 1 0 0 0 0 0 0 0 2 0 0 0 0 0 0 0
vethab12: 1 0 0 0 0 0 0 0 2 0 0 0 0 0 0 0
`;

test('time that waits for disks is idle, time stolen by the host is busy', () => {
  const text = 'cpu  100 5 50 800 20 3 2 20 40 0\ncpu0 1 1 1 1 1 1 1 1 0 0\nintr 5\n';
  expect(parseCpuTimes(text)).toEqual({ busy: 180, total: 1000 });
});

test('an old kernel with four columns is understood', () => {
  expect(parseCpuTimes('cpu 10 0 10 80\n')).toEqual({ busy: 20, total: 100 });
});

test('memory comes in bytes', () => {
  const text = 'MemTotal:        8000000 kB\nMemFree:          100 kB\nMemAvailable:    6000000 kB\n';
  expect(parseMemory(text)).toEqual({ total: 8_192_000_000, available: 6_144_000_000 });
});

test('load and uptime are read', () => {
  expect(parseLoad('0.52 1.10 12.00 2/345 6789\n')).toEqual([0.52, 1.1, 12]);
  expect(parseUptime('12345.67 9999.00\n')).toBe(12_345.67);
});

test('texts that lack the line give null', () => {
  expect(parseCpuTimes('intr 5\n')).toBeNull();
  expect(parseCpuTimes('cpu  a b c d\n')).toBeNull();
  expect(parseMemory('MemTotal: 8000000 kB\n')).toBeNull();
  expect(parseLoad('')).toBeNull();
  expect(parseUptime('')).toBeNull();
  expect(parseLinks('')).toEqual(new Map());
});

test('links are read by name, also when the first number touches the colon', () => {
  const links = parseLinks(NET_DEV);
  expect([...links.keys()]).toEqual(['lo', 'eth0', 'wg0', 'eth0.7', 'docker0', 'vethab12']);
  expect(links.get('eth0')).toEqual({ rx: 123_456_789_012, tx: 987_654_321_098 });
});

test('loopback, tunnels, VLANs on a link and container links are not counted beside what carries them', () => {
  expect([...outerLinks(parseLinks(NET_DEV)).keys()]).toEqual(['eth0']);
});

test('inside a container its only link counts, whatever its name', () => {
  const link = { rx: 1, tx: 2 };
  const only = (name: string) =>
    new Map([
      ['lo', link],
      ['wg0', link],
      [name, link],
    ]);
  for (const name of ['eth0', 'eth0.7', 'veth12']) expect([...outerLinks(only(name)).keys()]).toEqual([name]);
});

test('a link that is new or began again moves nothing in its first sample', () => {
  const before = new Map([
    ['eth0', { rx: 100, tx: 100 }],
    ['eth1', { rx: 500, tx: 500 }],
    ['gone', { rx: 9, tx: 9 }],
  ]);
  const now = new Map([
    ['eth0', { rx: 150, tx: 170 }],
    ['eth1', { rx: 5, tx: 600 }],
    ['eth2', { rx: 1_000_000, tx: 0 }],
  ]);
  expect(bytesMoved(before, now)).toEqual({ rx: 50, tx: 70 });
});
