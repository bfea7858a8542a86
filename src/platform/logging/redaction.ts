// Works on the finished JSON line, so that nested objects, child bindings and texts of errors are all covered at once.

const SECRET_NAME =
  '(?:[\\w-]*(?:password|passwd|passphrase|secret|token)|(?:proxy-)?authorization|(?:set-)?cookie|' +
  '[\\w-]*(?:private|preshared|api|secret)[_-]?key)';
const JSON_STRING = '"(?:\\\\.|[^"\\\\])*"';

/** `"password":"…"`, also with a list of strings or a number as its value. */
const MEMBER = new RegExp(
  `("${SECRET_NAME}"\\s*:\\s*)(?:${JSON_STRING}|\\[(?:${JSON_STRING}|[^"\\]])*\\]|-?[\\d.eE+-]+)`,
  'gi',
);

/** `?token=…` and `&password=…` in addresses, whatever the text around them. */
const QUERY = new RegExp(`([?&;]${SECRET_NAME}=)[^&\\s"'<>\\\\#]+`, 'gi');

/** `Bearer …` and `Basic …` quoted from a header. */
const SCHEME = /\b(Bearer|Basic)\s+[\w.~+/=:-]{6,}/gi;

/** `postgres://user:password@host`. */
const USER_INFO = /(:\/\/[^\s"/@:]*:)[^\s"/]+@/g;

/** `https://api.telegram.org/bot<id>:<secret>/getMe`. */
const BOT_PATH = /(\/(?:file\/)?bot)\d+:[\w-]+/g;

/** Every text that one of the above could change has one of these in it. */
const SUSPECT = /pass(?:w|phrase)|secret|token|authorization|cookie|key|bearer|basic|:\/\/|\/(?:file\/)?bot\d/i;

/** Puts `***` in the place of secrets in a line of JSON or a plain text. */
export function redact(line: string): string {
  if (!SUSPECT.test(line)) return line;
  return line
    .replace(MEMBER, '$1"***"')
    .replace(QUERY, '$1***')
    .replace(SCHEME, '$1 ***')
    .replace(USER_INFO, '$1***@')
    .replace(BOT_PATH, '$1***');
}
