import { createHash } from 'node:crypto';

/** A safe integer that stands for this very thing: other parts, other number. */
export function epochOf(...parts: (string | number)[]): number {
  const digest = createHash('sha256').update(parts.join('\n')).digest();
  return digest.readUIntBE(0, 6);
}
