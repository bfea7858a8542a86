import { readFileSync, statSync } from 'node:fs';
import { isIP } from 'node:net';
import { resolve } from 'node:path';
import { Config } from './config.js';

/** Everything that is wrong with the environment, one line for each fault. Values of secrets never stand in it. */
export class ConfigError extends Error {
  constructor(readonly faults: readonly string[]) {
    const head =
      faults.length === 1 ? 'The configuration has a fault' : `The configuration has ${faults.length} faults`;
    super(`${head}:\n${faults.map((fault) => `  ${fault}`).join('\n')}`);
    this.name = 'ConfigError';
  }
}

type Environment = Record<string, string | undefined>;

/** Turns the text of one variable into its value, or throws an Error that ends the sentence `<variable> …`. */
type Parser<T> = (text: string) => T;

interface Variable<T> {
  parse: Parser<T>;
  example: string;
  /** Also as `<name>_FILE`; the value is never repeated in a message and keeps its white space. */
  secret?: boolean;
}

const MAX_SECRET_FILE_BYTES = 64 * 1024;
const MIN_SECRET_KEY_LENGTH = 32;

/**
 * Makes the one configuration object from the environment. An empty variable is an unset one; each secret may come as
 * `<name>_FILE` instead. Throws one ConfigError that lists all faults.
 */
export function loadConfig(env: Environment): Config {
  const reader = new Reader(env);
  const flag = (name: string) => reader.take(name, { parse: parseFlag, example: 'true' }) ?? false;
  const text = (name: string, example: string) => reader.take(name, { parse: parsePlain, example });
  const url = (name: string, example: string) => reader.take(name, { parse: parseHttpUrl, example });
  const choice = <T extends string>(name: string, values: readonly T[]) =>
    reader.take(name, { parse: oneOf(values), example: values[0]! });
  const number = (name: string, least: number, most: number, example: number) =>
    reader.take(name, { parse: wholeNumber(least, most), example: String(example) });
  const secret = (name: string, parse: Parser<string>, example: string) =>
    reader.take(name, { parse, example, secret: true });

  const allowWeakPasswords = flag('ALLOW_WEAK_PASSWORDS');
  const databaseUrl = secret('DATABASE_URL', parseDatabaseUrl, 'postgres://causeway:password@db.example.org/causeway');
  const secretKey = secret('SECRET_KEY', atLeast(MIN_SECRET_KEY_LENGTH), '<output of: openssl rand -hex 32>');
  if (databaseUrl !== null && secretKey === null && !reader.hasFault('SECRET_KEY')) {
    reader.fault('SECRET_KEY', 'is required with DATABASE_URL', '<output of: openssl rand -hex 32>');
  }
  const role = choice('ROLE', ['all', 'api', 'worker']) ?? 'all';
  if (role !== 'all' && databaseUrl === null && !reader.hasFault('DATABASE_URL')) {
    reader.fault('ROLE', `"${role}" needs a DATABASE_URL that the other processes share`, 'all');
  }

  const values: Config = {
    port: number('PORT', 0, 65535, 8000) ?? 8000,
    host: reader.take('HOST', { parse: parseHost, example: '0.0.0.0' }) ?? '0.0.0.0',
    dataDir: resolve(text('DATA_DIR', '/var/lib/causeway') ?? defaultDataDir()),
    databaseUrl,
    redisUrl: secret('REDIS_URL', parseRedisUrl, 'redis://cache.example.org:6379'),
    secretKey,
    secretKeyPrevious: secret('SECRET_KEY_PREVIOUS', atLeast(MIN_SECRET_KEY_LENGTH), '<the key before SECRET_KEY>'),
    adminUsername: reader.take('ADMIN_USERNAME', { parse: parseName, example: 'admin' }) ?? 'admin',
    adminPassword: secret('ADMIN_PASSWORD', atLeast(allowWeakPasswords ? 1 : 8), '<8 characters or more>'),
    setupToken: secret('SETUP_TOKEN', parseHeaderToken(1), '<output of: openssl rand -hex 16>'),
    allowWeakPasswords,
    wgEasy: {
      password: secret('WG_PASSWORD', atLeast(1), '<the password of your wg-easy>'),
      host: reader.take('WG_HOST', { parse: parseHost, example: 'vpn.example.org' }),
      port: number('WG_PORT', 1, 65535, 51820) ?? 51820,
      defaultDns: reader.take('WG_DEFAULT_DNS', { parse: parseDns, example: '1.1.1.1,8.8.8.8' }) ?? '1.1.1.1',
      allowedIps:
        reader.take('WG_ALLOWED_IPS', { parse: parseAllowedIps, example: '0.0.0.0/0,::/0' }) ?? '0.0.0.0/0, ::/0',
      persistentKeepalive: number('WG_PERSISTENT_KEEPALIVE', 0, 65535, 25) ?? 0,
    },
    wireguard: choice('WIREGUARD', ['auto', 'kernel', 'wireguard-go', 'off']) ?? 'auto',
    wireguardNat: reader.take('WIREGUARD_NAT', { parse: parseFlag, example: 'on' }) ?? true,
    xray: choice('XRAY', ['auto', 'off']) ?? 'auto',
    xrayBin: text('XRAY_BIN', '/usr/local/bin/xray'),
    xrayApi: reader.take('XRAY_API', { parse: parseHostPort, example: '127.0.0.1:10085' }),
    dockerHost: reader.take('DOCKER_HOST', { parse: parseDockerHost, example: 'unix:///var/run/docker.sock' }),
    zarinpalMerchantId: secret('ZARINPAL_MERCHANT_ID', parseMerchantId, '<36 characters, a UUID>'),
    zarinpalBaseUrl: url('ZARINPAL_BASE_URL', 'https://payment.zarinpal.com'),
    telegramBotToken: secret('TELEGRAM_BOT_TOKEN', parseBotToken, '<number>:<letters, as BotFather gives it>'),
    telegramApiRoot: url('TELEGRAM_API_ROOT', 'https://api.telegram.org'),
    publicUrl: url('PUBLIC_URL', 'https://vpn.example.org'),
    syncIntervalSeconds: number('SYNC_INTERVAL', 1, 3600, 10) ?? 10,
    allowRegistration: flag('ALLOW_REGISTRATION'),
    cardAutoApprove: flag('CARD_AUTO_APPROVE'),
    webhookAllowPrivate: flag('WEBHOOK_ALLOW_PRIVATE'),
    backupPassphrase: secret('BACKUP_PASSPHRASE', atLeast(12), '<12 characters or more>'),
    rateLimitFactor: reader.take('RATE_LIMITS', { parse: parseRateLimits, example: 'x10' }) ?? 1,
    trustProxy: reader.take('TRUST_PROXY', { parse: parseTrustProxy, example: '127.0.0.1,10.0.0.0/8' }) ?? false,
    corsOrigins: reader.take('CORS_ORIGINS', { parse: parseOrigins, example: 'https://panel.example.org' }) ?? [],
    logLevel: choice('LOG_LEVEL', ['info', 'debug', 'trace', 'warn', 'error', 'fatal', 'silent']) ?? 'info',
    role,
    supervised: flag('SUPERVISED'),
    metricsToken: secret('METRICS_TOKEN', parseHeaderToken(16), '<output of: openssl rand -hex 16>'),
  };
  reader.finish();
  return new Config(values);
}

/** Reads variables and collects what is wrong with them instead of stopping at the first. */
class Reader {
  private readonly faults = new Map<string, string>();

  constructor(private readonly env: Environment) {}

  take<T>(name: string, variable: Variable<T>): T | null {
    try {
      const text = variable.secret ? this.secretText(name) : this.text(name);
      return text === null ? null : variable.parse(text);
    } catch (error) {
      this.fault(name, (error as Error).message, variable.example);
      return null;
    }
  }

  hasFault(name: string): boolean {
    return this.faults.has(name);
  }

  fault(name: string, what: string, example: string): void {
    this.faults.set(name, `${name} ${what}; example: ${name}=${example}`);
  }

  finish(): void {
    if (this.faults.size > 0) throw new ConfigError([...this.faults.values()]);
  }

  private text(name: string): string | null {
    return this.env[name]?.trim() || null;
  }

  private secretText(name: string): string | null {
    const value = this.env[name] || null;
    const path = this.text(`${name}_FILE`);
    if (path === null) return value;
    if (value !== null) throw new Error(`and ${name}_FILE are both set, one is enough`);
    return readSecretFile(name, path);
  }
}

function readSecretFile(name: string, path: string): string {
  let content: string;
  try {
    const stat = statSync(path);
    if (!stat.isFile() || stat.size > MAX_SECRET_FILE_BYTES) throw new Error('it is not a small regular file');
    content = readFileSync(path, 'utf8').replace(/\r?\n$/, '');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new Error(`cannot be read from ${name}_FILE ${quote(path)}: ${code ?? message}`, { cause: error });
  }
  if (content === '') throw new Error(`is empty in ${name}_FILE ${quote(path)}`);
  return content;
}

function defaultDataDir(): string {
  return process.getuid?.() === 0 ? '/var/lib/causeway' : './data';
}

function quote(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);
}

const parsePlain: Parser<string> = (text) => {
  if (/\p{Cc}/u.test(text)) throw new Error('has a control character in it');
  return text;
};

const parseFlag: Parser<boolean> = (text) => {
  const word = text.toLowerCase();
  if (['true', 'on', 'yes', '1'].includes(word)) return true;
  if (['false', 'off', 'no', '0'].includes(word)) return false;
  throw new Error(`is ${quote(text)}, not true or false (on, off, yes, no, 1, 0)`);
};

const parseName: Parser<string> = (text) => {
  if (!/^[\p{L}\p{N} _.@+-]{1,64}$/u.test(text)) {
    throw new Error(`is ${quote(text)}, not 1 to 64 letters, digits, spaces or _ - . @ +`);
  }
  return text;
};

function oneOf<T extends string>(values: readonly T[]): Parser<T> {
  return (text) => {
    const found = values.find((value) => value === text.toLowerCase());
    if (found === undefined) throw new Error(`is ${quote(text)}, not one of ${values.join(', ')}`);
    return found;
  };
}

function wholeNumber(least: number, most: number): Parser<number> {
  return (text) => {
    const value = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
    if (!(value >= least && value <= most)) {
      throw new Error(`is ${quote(text)}, not a whole number from ${least} to ${most}`);
    }
    return value;
  };
}

function atLeast(length: number): Parser<string> {
  return (text) => {
    if (text.length < length) throw new Error(`has fewer than ${length} characters`);
    if (text.length > 1024) throw new Error('has more than 1024 characters');
    return text;
  };
}

/** What can travel in an HTTP header as it is. */
function parseHeaderToken(length: number): Parser<string> {
  return (text) => {
    if (!/^[\x21-\x7e]+$/.test(text)) throw new Error('has characters other than visible ASCII');
    return atLeast(length)(text);
  };
}

const parseRateLimits: Parser<number> = (text) => {
  const word = text.toLowerCase();
  if (word === 'on') return 1;
  if (word === 'off') return Infinity;
  const factor = /^x(\d{1,9}(?:\.\d{1,9})?)$/.exec(word)?.[1];
  if (factor === undefined || !(Number(factor) > 0)) {
    throw new Error(`is ${quote(text)}, not on, off or x and a number above 0`);
  }
  return Number(factor);
};

const HOST_NAME =
  /^(?=.{1,253}$)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?)(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?)*\.?$/i;

function isHost(text: string): boolean {
  // A name of digits and dots only is a mistyped address, never a host.
  return isAddress(text) || (HOST_NAME.test(text) && !/^[\d.]+$/.test(text));
}

function isAddress(text: string): boolean {
  return isIP(text) !== 0 && !text.includes('%');
}

function isCidr(text: string): boolean {
  const slash = text.indexOf('/');
  if (slash < 0 || !isAddress(text.slice(0, slash))) return false;
  const most = isIP(text.slice(0, slash)) === 4 ? 32 : 128;
  const length = text.slice(slash + 1);
  return /^\d{1,3}$/.test(length) && Number(length) <= most;
}

function listOf(what: string, accepts: (item: string) => boolean): Parser<string[]> {
  return (text) => {
    const items = text
      .split(',')
      .map((item) => item.trim())
      .filter((item) => item !== '');
    const wrong = items.find((item) => !accepts(item));
    if (wrong !== undefined) throw new Error(`has ${quote(wrong)}, not ${what}`);
    if (items.length === 0 || items.length > 100) throw new Error('is not a list of 1 to 100 entries');
    return items;
  };
}

const parseHost: Parser<string> = (text) => {
  if (!isHost(text)) throw new Error(`is ${quote(text)}, not a host name or address`);
  return text;
};

// wg-quick takes search domains in DNS lines too.
const parseDns: Parser<string> = (text) => listOf('an address or a search domain', isHost)(text).join(', ');

const parseAllowedIps: Parser<string> = (text) => listOf('a CIDR', isCidr)(text).join(', ');

const parseTrustProxy: Parser<boolean | string[]> = (text) => {
  if (text.toLowerCase() === 'true') return true;
  if (text.toLowerCase() === 'false') return false;
  return listOf('true, false, an address or a CIDR', (item) => isAddress(item) || isCidr(item))(text);
};

const parseOrigins: Parser<string[]> = (text) =>
  text === '*' ? ['*'] : listOf('an origin (scheme, host, port; no path)', isOrigin)(text);

function isOrigin(text: string): boolean {
  const url = toUrl(text);
  return url !== null && /^https?:$/.test(url.protocol) && url.origin === text.toLowerCase();
}

const parseHttpUrl: Parser<string> = (text) => {
  const url = toUrl(text);
  if (url === null || !/^https?:$/.test(url.protocol)) throw new Error('is not an http or https address');
  if (url.username || url.password || url.search || url.hash) throw new Error('has more than scheme, host and path');
  return url.href.replace(/\/+$/, '');
};

const parseHostPort: Parser<string> = (text) => {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  const hostIsRight = match?.[1] === undefined ? isHost(host ?? '') : isIP(match[1]) === 6;
  if (!hostIsRight || !(port >= 1 && port <= 65535)) throw new Error(`is ${quote(text)}, not host:port`);
  return text;
};

const parseDockerHost: Parser<string> = (text) => {
  if (/^unix:\/\/\/\S+$/.test(text)) return text;
  const url = toUrl(text);
  if (url === null || !/^(?:tcp|http|https|ssh):$/.test(url.protocol) || url.hostname === '' || url.password !== '') {
    throw new Error('is not unix:///path, tcp://host:port, https://host:port or ssh://user@host');
  }
  return text;
};

const parseDatabaseUrl: Parser<string> = (text) => {
  // An empty host is how a URL names a Unix socket (…@/name?host=/run/postgresql); WHATWG URLs do not know it.
  if (!/^postgres(?:ql)?:\/\//.test(text) || toUrl(text.replace('@/', '@localhost/')) === null) {
    throw new Error('is not a postgres:// address');
  }
  return text;
};

const parseRedisUrl: Parser<string> = (text) => {
  if (!/^rediss?:\/\//.test(text) || toUrl(text) === null) throw new Error('is not a redis:// or rediss:// address');
  return text;
};

const parseMerchantId: Parser<string> = (text) => {
  if (!/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text)) throw new Error('is not a UUID');
  return text;
};

const parseBotToken: Parser<string> = (text) => {
  if (!/^\d{1,20}:[\w-]{8,128}$/.test(text)) throw new Error('is not <number>:<letters, digits, _ or ->');
  return text;
};

function toUrl(text: string): URL | null {
  return URL.canParse(text) ? new URL(text) : null;
}
