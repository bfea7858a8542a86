import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { DomainError } from '../../src/domain/domain-error.js';
import type {
  CheckOutcome,
  InstallationCheck,
  InstallationChecks,
} from '../../src/domain/system/installation.checks.js';
import { SelfChecksService } from '../../src/domain/system/self-checks.service.js';
import { Clock } from '../../src/platform/clock/clock.js';
import { silentLog } from '../support/silent-log.js';

const good: CheckOutcome = { ok: true, message: 'well', hint: null };

const check = (name: string, run: () => Promise<CheckOutcome>): InstallationCheck => ({
  name,
  description: name,
  limitMs: 5_000,
  run,
});

const serviceOf = (...checks: InstallationCheck[]) =>
  new SelfChecksService({ all: () => checks } as InstallationChecks, new Clock(), silentLog());

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

test('callers at once share one run, and the next run is a new one', async () => {
  const run = vi.fn<() => Promise<CheckOutcome>>(async () => good);
  const service = serviceOf(check('one', run));
  expect(service.list()).toMatchObject([{ name: 'one', status: 'pending', last: null }]);
  const [first, second] = await Promise.all([service.run(), service.run()]);
  expect(first).toBe(second);
  expect(run).toHaveBeenCalledTimes(1);
  await service.run();
  expect(run).toHaveBeenCalledTimes(2);
});

test('one that hangs ends at its limit, the others are told before', async () => {
  const service = serviceOf(
    check('quick', async () => good),
    check('hangs', () => new Promise(() => undefined)),
  );
  const run = service.run();
  await vi.advanceTimersByTimeAsync(1_000);
  expect(service.progress()).toMatchObject({ running: true, done: 1, total: 2, lastRunAt: null });
  expect(service.list().map(({ status }) => status)).toEqual(['passed', 'running']);
  await vi.advanceTimersByTimeAsync(5_000);
  expect((await run).get('hangs')).toMatchObject({ ok: false, message: 'It did not end within 5 s' });
  expect(service.progress()).toMatchObject({ running: false, done: 2, total: 2, lastRunAt: expect.any(Date) });
  expect(service.list().map(({ status }) => status)).toEqual(['passed', 'failed']);
});

test('one that throws fails with what a caller may see', async () => {
  const service = serviceOf(
    check('known', async () => {
      throw new DomainError('unavailable', 'x', 'The folder cannot be used');
    }),
    check('unknown', async () => {
      throw new Error('password=secret');
    }),
  );
  const results = await service.run();
  expect(results.get('known')).toMatchObject({ ok: false, message: 'The folder cannot be used' });
  expect(JSON.stringify(results.get('unknown'))).not.toContain('secret');
});
