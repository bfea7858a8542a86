import { isIP } from 'node:net';

/** How the text of a setting becomes its value and goes back. */
export interface SettingType<T> {
  /** Ends the sentence `<key> must be …`. */
  readonly expects: string;
  /** Undefined: the text is no such value. */
  parse(text: string): T | undefined;
  /** The one text that is stored and shown for the value. */
  format(value: T): string;
}

const LONGEST_TEXT = 4096;
const CONTROL = /[\p{Cc}\p{Cs}\u2028\u2029]/u;

/** Nothing that could start a line of its own in a config file passes here; only JSON, which is written anew, may. */
function plain(text: string): string | undefined {
  const trimmed = text.trim();
  return trimmed.length > LONGEST_TEXT || CONTROL.test(trimmed) ? undefined : trimmed;
}

export function shortText(most: number): SettingType<string> {
  return {
    expects: `a text of at most ${most} characters without control characters`,
    parse: (raw) => {
      const value = plain(raw);
      return value === undefined || value.length > most ? undefined : value;
    },
    format: (value) => value,
  };
}

export function wholeNumber(least: number, most: number, unit = ''): SettingType<number> {
  return {
    expects: `a whole number from ${least} to ${most}${unit && ` (${unit})`}`,
    parse: (raw) => {
      const value = /^(0|-?[1-9]\d{0,15})$/.test(raw.trim()) ? Number(raw) : Number.NaN;
      return value >= least && value <= most ? value : undefined;
    },
    format: String,
  };
}

export const flag: SettingType<boolean> = {
  expects: '"0" or "1"',
  parse: (raw) => ({ '1': true, true: true, '0': false, false: false })[raw.trim().toLowerCase()],
  format: (value) => (value ? '1' : '0'),
};

export function choice<const T extends string>(...values: T[]): SettingType<T> {
  return {
    expects: values.map((value) => `"${value}"`).join(' or '),
    parse: (raw) => values.find((value) => value === raw.trim()),
    format: (value) => value,
  };
}

export const address: SettingType<string> = {
  expects: 'an IP address',
  parse: (raw) => (isAddress(raw.trim()) ? raw.trim() : undefined),
  format: (value) => value,
};

export const host: SettingType<string> = {
  expects: 'a host name or an IP address',
  parse: (raw) => (isHost(raw.trim()) ? raw.trim() : undefined),
  format: (value) => value,
};

export const httpUrl: SettingType<string> = {
  expects: 'an http or https address without query',
  parse: (raw) => {
    const clean = plain(raw);
    if (clean === undefined || !URL.canParse(clean)) return undefined;
    const url = new URL(clean);
    if (!/^https?:$/.test(url.protocol) || url.username || url.password || url.search || url.hash) return undefined;
    return url.href.replace(/\/+$/, '');
  },
  format: (value) => value,
};

/** Addresses, and search domains behind them, as a `DNS =` line takes them; may be empty: no such line. */
export const dnsServers: SettingType<string[]> = {
  expects: 'a comma-separated list of at most 8 DNS server addresses (and search domains)',
  parse: (raw) => {
    const items = listItems(raw);
    if (items.length > 8 || !items.every(isHost)) return undefined;
    return items.length === 0 || items.some(isAddress) ? items : undefined;
  },
  format: (value) => value.join(', '),
};

export const cidrs: SettingType<string[]> = {
  expects: 'a comma-separated list of 1 to 64 networks like 10.0.0.0/8',
  parse: (raw) => {
    const items = listItems(raw);
    return items.length >= 1 && items.length <= 64 && items.every(isCidr) ? items : undefined;
  },
  format: (value) => value.join(', '),
};

export const lines: SettingType<string[]> = {
  expects: 'a JSON array of at most 50 texts of at most 500 characters, without line breaks',
  parse: (raw) => {
    const value = parseJson(raw, 64 * 1024);
    if (!Array.isArray(value) || value.length > 50) return undefined;
    const fits = (item: unknown) => typeof item === 'string' && item.length <= 500 && !CONTROL.test(item);
    return value.every(fits) ? (value as string[]) : undefined;
  },
  format: (value) => JSON.stringify(value),
};

/** `{"per_month": 75000}` */
export const prices: SettingType<Record<string, number>> = {
  expects: 'a JSON object of at most 50 names and prices, each price a whole number of 0 or more',
  parse: (raw) => {
    const value = parseJson(raw, 16 * 1024);
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
    const entries: [string, unknown][] = Object.entries(value);
    const fits = ([name, price]: [string, unknown]) =>
      /^[A-Za-z0-9][\w-]{0,63}$/.test(name) && Number.isSafeInteger(price) && (price as number) >= 0;
    return entries.length <= 50 && entries.every(fits) ? (value as Record<string, number>) : undefined;
  },
  format: (value) => JSON.stringify(value),
};

/** Empty is null; anything else is of the given type. */
export function optional<T>(type: SettingType<T>): SettingType<T | null> {
  return {
    expects: `${type.expects}, or empty`,
    parse: (raw) => (raw.trim() === '' ? null : type.parse(raw)),
    format: (value) => (value === null ? '' : type.format(value)),
  };
}

/** As `optional`, with CandyPanel's way of saying "none", which is `0`. */
export function optionalOrZero<T>(type: SettingType<T>): SettingType<T | null> {
  return {
    expects: `${type.expects}, or "0" for none`,
    parse: (raw) => (raw.trim() === '' || raw.trim() === '0' ? null : type.parse(raw)),
    format: (value) => (value === null ? '0' : type.format(value)),
  };
}

export function matching(expects: string, pattern: RegExp): SettingType<string> {
  return {
    expects,
    parse: (raw) => (pattern.test(raw.trim()) ? raw.trim() : undefined),
    format: (value) => value,
  };
}

function listItems(raw: string): string[] {
  const items = raw.split(',').map((item) => item.trim());
  return items.length === 1 && items[0] === '' ? [] : items;
}

export function isAddress(value: string): boolean {
  return value.length <= 64 && !value.includes('%') && isIP(value) !== 0;
}

export function isHost(value: string): boolean {
  if (isAddress(value)) return true;
  if (value.length > 253) return false;
  const labels = value.split('.');
  // What ends in a number is a mistyped address: resolvers take it for one.
  if (/^(\d+|0x[\da-f]*)$/i.test(labels.at(-1)!)) return false;
  return labels.every((label) => /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/i.test(label));
}

function isCidr(value: string): boolean {
  const [network = '', length, ...rest] = value.split('/');
  if (rest.length > 0 || !isAddress(network) || length === undefined) return false;
  return /^(0|[1-9]\d{0,2})$/.test(length) && Number(length) <= (isIP(network) === 4 ? 32 : 128);
}

function parseJson(raw: string, most: number): unknown {
  if (raw.length > most) return undefined;
  try {
    return JSON.parse(raw) as unknown;
  } catch {
    return undefined;
  }
}
