import { describe, expect, it } from 'vitest';
import type { BackupReason } from '../../src/domain/backups/archive.format.js';
import type { BackupItem } from '../../src/domain/backups/backup.folder.js';
import { outdated } from '../../src/domain/backups/backup.retention.js';

const backup = (createdAt: string, reason: BackupReason | null = 'auto'): BackupItem => ({
  filename: `${createdAt}-${reason}.cwb`,
  sizeBytes: 1,
  createdAt: new Date(createdAt),
  scope: 'config',
  reason,
});

/** One at three o'clock of each of the days before 1 July 2026, a Wednesday, newest first. */
const daily = (count: number): BackupItem[] =>
  Array.from({ length: count }, (_, back) =>
    backup(new Date(Date.UTC(2026, 6, 1, 3) - back * 86_400_000).toISOString()),
  );

const kept = (items: BackupItem[]): string[] => {
  const gone = new Set(outdated(items));
  return items.filter((item) => !gone.has(item)).map(({ createdAt }) => createdAt.toISOString().slice(5, 10));
};

describe('the backups that stay', () => {
  it('are of seven days, and the last ones of four weeks', () => {
    expect(kept(daily(60))).toEqual(['07-01', '06-30', '06-29', '06-28', '06-27', '06-26', '06-25', '06-21', '06-14']);
  });

  it('are the same when old ones were deleted each day', () => {
    let items: BackupItem[] = [];
    for (const next of daily(60).reverse()) {
      const all = [next, ...items];
      const gone = new Set(outdated(all));
      items = all.filter((item) => !gone.has(item));
    }
    expect(kept(items)).toEqual(['07-01', '06-30', '06-29', '06-28', '06-27', '06-26', '06-25', '06-21', '06-14']);
  });

  it('are those that there are, however long the server was off', () => {
    expect(
      kept([backup('2026-07-01T00:00:00Z'), backup('2025-01-01T00:00:00Z'), backup('2024-01-01T00:00:00Z')]),
    ).toEqual(['07-01', '01-01', '01-01']);
  });

  it('are the newest of a day', () => {
    const items = [backup('2026-07-01T20:00:00Z'), backup('2026-07-01T10:00:00Z')];
    expect(outdated(items)).toEqual([items[1]]);
  });

  it('are all that somebody asked for, that cannot be read, and ten of restores', () => {
    const old = [backup('2020-01-01T00:00:00Z', 'manual'), backup('2020-01-01T00:00:00Z', null)];
    const restores = daily(12).map(({ createdAt }) => backup(createdAt.toISOString(), 'pre_restore'));
    expect(outdated([...restores, ...old])).toEqual(restores.slice(10));
  });
});
