// The text format of COPY: one row a line, fields apart by tabs, `\N` for null.
const ESCAPES: Readonly<Record<string, string>> = { b: '\b', f: '\f', n: '\n', r: '\r', t: '\t', v: '\v' };

/** The escaped fields of one row, which may be changed and joined by tabs again. */
export function rowFields(line: Buffer): string[] {
  return line.toString('utf8').split('\t');
}

/** The text of one field; null for null. */
export function fieldText(field: string): string | null {
  if (field === '\\N') return null;
  return field.replace(/\\(.)/g, (_, escaped: string) => ESCAPES[escaped] ?? escaped);
}

/** The bytes of one field of type bytea; null for null. */
export function fieldBytes(field: string): Buffer | null {
  const text = fieldText(field);
  return text === null ? null : Buffer.from(text.slice(2), 'hex');
}

/** A field of type bytea. */
export function bytesField(bytes: Buffer): string {
  return `\\\\x${bytes.toString('hex')}`;
}
