const DAY_MS = 86_400_000;

/** Sample tables in partitions of one UTC day, and how many days back they are kept. Days are kept for ever. */
export const RETENTION = { usage_minutes: 2, usage_five_minutes: 14, usage_hours: 100 } as const;

export type PartitionedTable = keyof typeof RETENTION;

export interface PartitionPlan {
  /** Days (UTC midnight) that want a partition. */
  create: Date[];
  /** Days that are past keeping. */
  drop: Date[];
}

/**
 * What one table wants now, given the days that it has. Today and tomorrow get partitions ahead. A day is past keeping
 * when all of it is older than the retention and as many newer days as that are there: a clock that jumps years ahead
 * takes no more than the oldest few.
 */
export function planPartitions(existing: readonly Date[], now: Date, keptDays: number): PartitionPlan {
  const today = startOfDay(now).getTime();
  const have = existing.map((day) => day.getTime()).sort((a, b) => b - a);
  return {
    create: [today, today + DAY_MS].filter((day) => !have.includes(day)).map((day) => new Date(day)),
    drop: have
      .slice(keptDays)
      .filter((day) => day + DAY_MS <= now.getTime() - keptDays * DAY_MS)
      .map((day) => new Date(day)),
  };
}

/** `usage_hours_20260131` for that day of UTC. */
export function partitionName(table: PartitionedTable, day: Date): string {
  return `${table}_${day.toISOString().slice(0, 10).replaceAll('-', '')}`;
}

/** The day that a partition is named after; null for any other table. */
export function partitionDay(table: PartitionedTable, name: string): Date | null {
  const match = /^(\d{4})(\d\d)(\d\d)$/.exec(name.startsWith(`${table}_`) ? name.slice(table.length + 1) : '');
  return match === null ? null : new Date(Date.UTC(Number(match[1]), Number(match[2]) - 1, Number(match[3])));
}

export function startOfDay(time: Date): Date {
  return new Date(Math.floor(time.getTime() / DAY_MS) * DAY_MS);
}

export function nextDay(day: Date): Date {
  return new Date(day.getTime() + DAY_MS);
}
