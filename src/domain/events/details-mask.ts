import { printable } from './printable.js';

/** What stands where a secret is. Writing it back means: leave the secret as it is. */
export const MASK = '********';

const SECRET_NAME =
  /pass(?!ed|ive|ing)|pwd|secret|token|credential|authori[sz]ation|cookie|privatekey|presharedkey|psk|apikey|accesskey|signingkey|sealed|otp|totp/;
// Says that there is a secret, or which one, without being it.
const HARMLESS = /(version|enabled|weak|name|id|scope|count|expiresat)$/;

const MAX_DEPTH = 8;
const MAX_ENTRIES = 200;
const MAX_TEXT = 2000;

/**
 * A copy that may be stored and shown: values under names like `password` or `private_key` are masked however deep they
 * lie, control characters are escaped, and long or deep content is cut.
 */
export function maskDetails(details: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return maskObject(details, 0);
}

function maskObject(object: object, depth: number): Record<string, unknown> {
  const entries = Object.entries(object).slice(0, MAX_ENTRIES);
  return Object.fromEntries(
    entries
      .filter(([, value]) => value !== undefined)
      .map(([name, value]) => [
        printable(name.slice(0, 200)),
        isSecretName(name) && holdsSomething(value) ? MASK : maskValue(value, depth + 1),
      ]),
  );
}

function maskValue(value: unknown, depth: number): unknown {
  if (typeof value === 'string') return printable(value.length > MAX_TEXT ? `${value.slice(0, MAX_TEXT)}…` : value);
  if (typeof value === 'bigint') return value.toString();
  if (typeof value === 'number') return Number.isFinite(value) ? value : null;
  if (value === null || typeof value === 'boolean') return value;
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString();
  // Bytes are keys or sealed values here, and never of use to a reader.
  if (value instanceof Uint8Array) return MASK;
  if (typeof value !== 'object') return null;
  if (depth >= MAX_DEPTH) return '…';
  if (value instanceof Map) return maskObject(Object.fromEntries(value) as object, depth);
  if (Array.isArray(value)) return value.slice(0, MAX_ENTRIES).map((item) => maskValue(item, depth + 1));
  return maskObject(value, depth);
}

function isSecretName(name: string): boolean {
  const plain = name.toLowerCase().replace(/[^a-z]/g, '');
  return SECRET_NAME.test(plain) && !HARMLESS.test(plain);
}

/** True and false about a secret are no secret. */
function holdsSomething(value: unknown): boolean {
  return value !== null && typeof value !== 'boolean';
}
