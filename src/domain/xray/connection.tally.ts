import type { AccessLogEntry } from './access-log.line.js';

const MOST_ADDRESSES = 16;
const ADDRESS_KEPT_MS = 24 * 3_600_000;
const MOST_DOMAINS = 200;
const WINDOW_MS = 60_000;

/** What was seen of one user and day since the last booking. */
export interface DomainTally {
  userId: string;
  /** `YYYY-MM-DD`, UTC. */
  day: string;
  conns: Map<string, number>;
}

/** Connections by user, from the access log: for the books, and for who is where now. Memory is bounded by the users. */
export class ConnectionTally {
  private conns = new Map<string, number>();
  private domains = new Map<string, DomainTally>();
  private readonly addresses = new Map<string, Map<string, number>>();
  private readonly windows = new Map<string, { at: number; count: number }[]>();
  /** The last domains of each user, by which bytes without a new connection are shared out. */
  private readonly recent = new Map<string, Map<string, number>>();
  private minute = { text: '', day: '' };

  /** Counts one connection of a user who is known. */
  add(userId: string, entry: AccessLogEntry, nowMs: number): void {
    this.conns.set(userId, (this.conns.get(userId) ?? 0) + 1);
    this.seeAddress(userId, entry.address, nowMs);
    const window = this.windows.get(userId) ?? [];
    const latest = window.at(-1);
    if (latest?.at === nowMs) latest.count += 1;
    else window.push({ at: nowMs, count: 1 });
    this.windows.set(userId, window);

    const day = this.dayOf(entry.minute, nowMs);
    const key = `${userId} ${day}`;
    let tally = this.domains.get(key);
    if (!tally) {
      tally = { userId, day, conns: new Map() };
      this.domains.set(key, tally);
      this.recent.set(userId, tally.conns);
    }
    const domain = tally.conns.has(entry.domain) || tally.conns.size < MOST_DOMAINS ? entry.domain : 'other';
    tally.conns.set(domain, (tally.conns.get(domain) ?? 0) + 1);
  }

  seeAddress(userId: string, address: string, nowMs: number): void {
    const seen = this.addresses.get(userId) ?? new Map<string, number>();
    // Put anew, so that the first is always the one not seen for longest.
    seen.delete(address);
    seen.set(address, nowMs);
    if (seen.size > MOST_ADDRESSES) seen.delete(seen.keys().next().value as string);
    this.addresses.set(userId, seen);
  }

  /** Newest first. */
  addressesOf(userId: string, withinMs: number, nowMs: number): string[] {
    const seen = [...(this.addresses.get(userId) ?? [])].filter(([, at]) => nowMs - at <= withinMs);
    return seen.map(([address]) => address).toReversed();
  }

  /** All that are remembered: those of a day. */
  allAddressesOf(userId: string, nowMs: number): string[] {
    return this.addressesOf(userId, ADDRESS_KEPT_MS, nowMs);
  }

  /** Connections opened within the last minute. */
  openedLately(userId: string, nowMs: number): number {
    const window = (this.windows.get(userId) ?? []).filter(({ at }) => nowMs - at < WINDOW_MS);
    if (window.length === 0) this.windows.delete(userId);
    else this.windows.set(userId, window);
    return window.reduce((sum, { count }) => sum + count, 0);
  }

  /** Whoever opened one within the last minute. */
  lately(): string[] {
    return [...this.windows.keys()];
  }

  /** What is to be booked; it stays until `booked`. */
  pending(): { conns: ReadonlyMap<string, number>; domains: readonly DomainTally[] } {
    return { conns: this.conns, domains: [...this.domains.values()] };
  }

  /** The pending part is in the database. */
  booked(): void {
    this.conns = new Map();
    this.domains = new Map();
  }

  /** What a user's bytes of now are shared out by: domains with their weights; empty when nothing is known. */
  weightsOf(userId: string): ReadonlyMap<string, number> {
    return this.recent.get(userId) ?? new Map();
  }

  forget(userId: string): void {
    this.addresses.delete(userId);
    this.windows.delete(userId);
    this.recent.delete(userId);
  }

  /** The engine writes its host's time, which is ours too; what it dates into the future is of now. */
  private dayOf(minute: string, nowMs: number): string {
    if (this.minute.text !== minute) {
      const [year = 0, month = 1, day = 1, hour = 0, min = 0] = minute.split(/[/: ]/).map(Number);
      const at = Math.min(new Date(year, month - 1, day, hour, min).getTime(), nowMs);
      this.minute = { text: minute, day: new Date(Number.isNaN(at) ? nowMs : at).toISOString().slice(0, 10) };
    }
    return this.minute.day;
  }
}
