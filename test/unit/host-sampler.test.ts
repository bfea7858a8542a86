import { tmpdir } from 'node:os';
import { afterEach, expect, test, vi } from 'vitest';
import { HostSampler } from '../../src/domain/system/host-sampler.service.js';
import { Clock } from '../../src/platform/clock/clock.js';
import type { Config } from '../../src/platform/config/config.js';

const samplers: HostSampler[] = [];

class SteppedClock extends Clock {
  ms = 0;
  override monotonicMs(): number {
    return this.ms;
  }
}

function makeSampler(dataDir: string, clock: Clock = new Clock()): HostSampler {
  const sampler = new HostSampler({ dataDir } as Config, clock);
  samplers.push(sampler);
  return sampler;
}

afterEach(() => {
  for (const sampler of samplers.splice(0)) sampler.onApplicationShutdown();
});

test('a snapshot is there when the module is', async () => {
  const sampler = makeSampler(tmpdir());
  expect(() => sampler.snapshot()).toThrow('not been sampled');
  await sampler.onModuleInit();
  const snapshot = sampler.snapshot();
  expect(snapshot.cpuPercent).toBeGreaterThanOrEqual(0);
  expect(snapshot.cpuPercent).toBeLessThanOrEqual(100);
  expect(snapshot.memoryTotalBytes).toBeGreaterThan(snapshot.memoryAvailableBytes ?? Infinity);
  expect(snapshot.diskTotalBytes).toBeGreaterThan(0);
  expect(snapshot.hostUptimeSeconds).toBeGreaterThan(0);
  expect(snapshot.networkRxBytesPerSecond).toBe(0);
  expect(snapshot.processMemoryBytes).toBeGreaterThan(1_000_000);
});

test('a data folder that is not there leaves the disk unknown and the rest known', async () => {
  const sampler = makeSampler('/nowhere/at/all');
  await sampler.onModuleInit();
  expect(sampler.snapshot()).toMatchObject({ diskTotalBytes: null, diskUsedBytes: null });
  expect(sampler.snapshot().memoryTotalBytes).toBeGreaterThan(0);
});

test('the history keeps one sample in ten seconds for an hour', async () => {
  const clock = new SteppedClock();
  const sampler = makeSampler(tmpdir(), clock);
  for (; clock.ms < 4_000_000; clock.ms += 2_000) await sampler.sample();
  expect(sampler.history()).toHaveLength(360);
  expect(sampler.history().at(-1)).not.toBe(sampler.history().at(-2));
});

test('it goes on sampling by itself until the end', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  try {
    const sampler = makeSampler(tmpdir());
    await sampler.onModuleInit();
    const sample = vi.spyOn(sampler, 'sample');
    vi.advanceTimersByTime(6_000);
    expect(sample).toHaveBeenCalledTimes(3);
    sampler.onApplicationShutdown();
    vi.advanceTimersByTime(6_000);
    expect(sample).toHaveBeenCalledTimes(3);
  } finally {
    vi.useRealTimers();
  }
});
