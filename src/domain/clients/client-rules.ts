import { clientLimitInvalid, clientNameInvalid, clientNoteInvalid } from './clients.errors.js';

const NAME = /^[\p{L}\p{M}\p{N}_\-.@+ ]{1,64}$/u;
const MAX_BYTES = 2n ** 63n - 1n;

/** A name that every dialect, log line and config comment can carry. */
export function isClientName(name: string): boolean {
  // Composing may make a name longer, too, and the composed one is what is stored.
  const composed = name.length <= 256 ? name.normalize('NFC') : '';
  return NAME.test(composed) && composed.trim() === composed && composed !== '.' && composed !== '..';
}

/** The name as it is stored. Throws `client_name_invalid`. */
export function checkedClientName(name: string): string {
  if (!isClientName(name)) throw clientNameInvalid();
  return name.normalize('NFC');
}

/** A quota in bytes as the database takes it. Throws `client_limit_invalid`. */
export function checkedByteLimit(bytes: string): string {
  if (!/^\d{1,19}$/.test(bytes) || BigInt(bytes) > MAX_BYTES) throw clientLimitInvalid();
  return BigInt(bytes).toString();
}

/** Free text of an operator. Throws `client_note_invalid`. */
export function checkedNote(note: string): string {
  if (note.length > 1000 || note.includes('\0')) throw clientNoteInvalid();
  return note;
}
