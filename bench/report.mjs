// Medians, spreads and the table.

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** The median of these ratios with the smallest and the largest. */
export function result(name, ratios, { goal, better, seen, unit = '' }) {
  const round = (value) => Number(value.toPrecision(3));
  return { name, value: round(median(ratios)), goal, better, spread: ratios.map(round), unit, seen };
}

export function printTable(results) {
  const rows = results.map(({ name, value, goal, better, spread, unit, seen }) => [
    (better === 'higher' ? value >= goal : value <= goal) ? 'ok' : 'MISSED',
    name,
    `${value}${unit}`,
    `${better === 'higher' ? '>=' : '<='} ${goal}${unit}`,
    `${Math.min(...spread)} to ${Math.max(...spread)}`,
    seen,
  ]);
  const all = [['', 'measure', 'median', 'goal', 'rounds', 'seen'], ...rows];
  const widths = all[0].map((_, column) => Math.max(...all.map((row) => row[column].length)));
  console.log();
  for (const row of all)
    console.log(
      row
        .map((cell, column) => cell.padEnd(widths[column]))
        .join('  ')
        .trimEnd(),
    );
}
