import { Injectable } from '@nestjs/common';

/** The time, as something that tests can replace. */
@Injectable()
export class Clock {
  now(): Date {
    return new Date();
  }

  /** Unix milliseconds. */
  nowMs(): number {
    return Date.now();
  }

  /** Milliseconds since some moment of this process; never goes back, whatever happens to the wall clock. */
  monotonicMs(): number {
    return performance.now();
  }
}

/** `YYYY-MM-DDTHH:MM:SSZ`, whole seconds. */
export function formatUtc(date: Date): string {
  return `${formatUtcBare(date)}Z`;
}

/** `YYYY-MM-DDTHH:MM:SS`, UTC without saying so, as CandyPanel writes it. */
export function formatUtcBare(date: Date): string {
  return date.toISOString().slice(0, 19);
}

const TIME = /^(\d{4})-(\d\d)-(\d\d)(?:T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:Z|([+-])(\d\d):(\d\d))?)?$/;

/**
 * Reads `YYYY-MM-DD` or `YYYY-MM-DDTHH:MM:SS` with optional fraction and offset (`Z`, `+03:30`); without an offset it
 * is UTC. Null for anything else, for days and hours that do not exist, and outside the years 1970 to 9999.
 */
export function parseUtc(text: string): Date | null {
  const match = TIME.exec(text);
  if (match === null) return null;
  const part = (index: number) => Number(match[index] ?? 0);
  const [year, month, day, hour, minute, second] = [part(1), part(2), part(3), part(4), part(5), part(6)];
  const [offsetHours, offsetMinutes] = [part(9), part(10)];
  if (hour > 23 || minute > 59 || second > 59 || offsetHours > 23 || offsetMinutes > 59) return null;
  const milliseconds = Number((match[7] ?? '').padEnd(3, '0').slice(0, 3));
  const local = new Date(Date.UTC(year, month - 1, day, hour, minute, second, milliseconds));
  // Date.UTC rolls February 30 over into March and takes the years 0 to 99 for 1900 to 1999.
  if (local.getUTCFullYear() !== year || local.getUTCMonth() !== month - 1 || local.getUTCDate() !== day) return null;
  const offset = (offsetHours * 60 + offsetMinutes) * 60_000 * (match[8] === '-' ? -1 : 1);
  const date = new Date(local.getTime() - offset);
  return date.getTime() >= 0 && date.getUTCFullYear() <= 9999 ? date : null;
}
