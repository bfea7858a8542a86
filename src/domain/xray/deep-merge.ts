type Plain = Record<string, unknown>;

const isPlain = (value: unknown): value is Plain =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** A new object: `change` over `base`, objects merged key by key however deep, all else (lists, null) replaced. */
export function deepMerge(base: Plain, change: Plain): Plain {
  const merged = new Map(Object.entries(base));
  for (const [key, value] of Object.entries(change)) {
    const before = merged.get(key);
    merged.set(key, isPlain(value) ? deepMerge(isPlain(before) ? before : {}, value) : value);
  }
  // fromEntries defines properties, so no name (`__proto__`) reaches a prototype.
  return Object.fromEntries(merged);
}
