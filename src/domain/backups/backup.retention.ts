import type { BackupItem } from './backup.folder.js';

const KEPT_DAYS = 7;
const KEPT_WEEKS = 4;
const KEPT_BEFORE_RESTORES = 10;
const DAY_MS = 86_400_000;
/** A Monday. */
const FIRST_WEEK_MS = Date.UTC(1970, 0, 5);

/**
 * The backups that are past keeping: of the automatic ones, the newest of each of 7 days and of each of 4 weeks stay
 * (days and weeks of UTC that have one, so a server that was off for a month loses none), and the last 10 that restores
 * made. Those that somebody asked for, or that cannot be read, stay until somebody deletes them.
 *
 * @param items newest first.
 */
export function outdated(items: readonly BackupItem[]): BackupItem[] {
  const days = new Set<number>();
  const weeks = new Set<number>();
  let beforeRestores = 0;
  return items.filter(({ reason, createdAt }) => {
    if (reason === 'pre_restore') return (beforeRestores += 1) > KEPT_BEFORE_RESTORES;
    if (reason !== 'auto') return false;
    const day = Math.floor(createdAt.getTime() / DAY_MS);
    const week = Math.floor((createdAt.getTime() - FIRST_WEEK_MS) / (7 * DAY_MS));
    const forDay = !days.has(day) && days.size < KEPT_DAYS;
    const forWeek = !weeks.has(week) && weeks.size < KEPT_WEEKS;
    if (forDay) days.add(day);
    if (forWeek) weeks.add(week);
    return !forDay && !forWeek;
  });
}
