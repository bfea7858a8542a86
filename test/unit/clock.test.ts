import { describe, expect, it } from 'vitest';
import { Clock, formatUtc, formatUtcBare, parseUtc } from '../../src/platform/clock/clock.js';

describe('times', () => {
  it('are written in whole seconds of UTC', () => {
    const date = new Date(Date.UTC(2026, 0, 2, 3, 4, 5, 999));
    expect(formatUtc(date)).toBe('2026-01-02T03:04:05Z');
    expect(formatUtcBare(date)).toBe('2026-01-02T03:04:05');
  });

  it('are read with and without fraction and offset', () => {
    const expected: Record<string, string> = {
      '2026-01-02T03:04:05': '2026-01-02T03:04:05.000Z',
      '2026-01-02T03:04:05Z': '2026-01-02T03:04:05.000Z',
      '2026-01-02T03:04:05.5': '2026-01-02T03:04:05.500Z',
      '2026-01-02T03:04:05.123456789Z': '2026-01-02T03:04:05.123Z',
      '2026-01-02T03:04:05+03:30': '2026-01-01T23:34:05.000Z',
      '2026-01-02T23:04:05.25-01:00': '2026-01-03T00:04:05.250Z',
      '2026-01-02': '2026-01-02T00:00:00.000Z',
      '2024-02-29': '2024-02-29T00:00:00.000Z',
      '1970-01-01T00:00:00': '1970-01-01T00:00:00.000Z',
      '9999-12-31T23:59:59': '9999-12-31T23:59:59.000Z',
    };
    for (const [text, iso] of Object.entries(expected)) expect(parseUtc(text)?.toISOString(), text).toBe(iso);
  });

  it('that do not exist or are written otherwise are null', () => {
    const wrong = [
      '',
      '2026',
      '2026-1-2',
      '2026-02-30',
      '2025-02-29',
      '2026-04-31',
      '2026-13-01',
      '2026-00-10',
      '2026-01-00',
      '2026-01-02T24:00:00',
      '2026-01-02T23:60:00',
      '2026-01-02T23:59:60',
      '2026-01-02T03:04',
      '2026-01-02 03:04:05',
      '2026-01-02T03:04:05z',
      '2026-01-02T03:04:05+0330',
      '2026-01-02T03:04:05+24:00',
      '2026-01-02T03:04:05.',
      '2026-01-02Z',
      ' 2026-01-02',
      '2026-01-02\n',
      '1969-12-31',
      '1970-01-01T00:00:00+01:00',
      '0050-01-01',
      '9999-12-31T23:59:59-01:00',
      '12026-01-01',
      '٢٠٢٦-01-02',
      'now',
      '1735689600',
    ];
    for (const text of wrong) expect(parseUtc(text), JSON.stringify(text)).toBeNull();
  });

  it('of the clock move on', () => {
    const clock = new Clock();
    const began = clock.monotonicMs();
    expect(Math.abs(clock.nowMs() - clock.now().getTime())).toBeLessThan(1000);
    expect(clock.monotonicMs()).toBeGreaterThanOrEqual(began);
  });
});
