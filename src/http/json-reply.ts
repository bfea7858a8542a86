import { randomBytes } from 'node:crypto';

/** Unguessable, so that no text in an answer can pass for a marked number. */
const mark = `bigint:${randomBytes(16).toString('hex')}:`;
const marked = new RegExp(`"${mark}(-?\\d+)"`, 'g');

/**
 * JSON of an answer. A bigint is printed as a JSON integer, exactly; answers without one take the fast path, which is
 * JSON.stringify alone.
 */
export function serializeReply(payload: unknown): string {
  try {
    return JSON.stringify(payload);
  } catch (error) {
    if (!(error instanceof TypeError) || !/BigInt/.test(error.message)) throw error;
  }
  const text = JSON.stringify(payload, (_key, value: unknown) =>
    typeof value === 'bigint' ? `${mark}${value}` : value,
  );
  return text.replace(marked, '$1');
}
