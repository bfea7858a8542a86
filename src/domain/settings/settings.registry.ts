import type { Config } from '../../platform/config/config.js';
import {
  address,
  choice,
  cidrs,
  dnsServers,
  flag,
  host,
  httpUrl,
  isAddress,
  lines,
  matching,
  optional,
  optionalOrZero,
  prices,
  shortText,
  type SettingType,
  wholeNumber,
} from './setting-types.js';

export interface SettingDefinition<T> {
  readonly type: SettingType<T>;
  /** The text that counts while nothing is stored; from the environment where that seeds it. */
  readonly fallback: string | ((config: Config) => string);
  /** Stored sealed, shown as a mask. */
  readonly secret?: boolean;
  /** Why a request cannot set it, as a sentence. */
  readonly readOnly?: string;
  /** Stored once, when the database is empty; null: nothing to store. */
  readonly seed?: (config: Config) => string | null;
}

const setting = <T>(definition: SettingDefinition<T>): SettingDefinition<T> => definition;

/** A `.env` of wg-easy decides only together with its password: the rest of it has defaults that would hide ours. */
const wgEasy = (config: Config, value: string | null): string | null =>
  config.wgEasy.password === null ? null : value;

const anything = shortText(4096);

/** Every setting. Names are CandyPanel's where it has one, spelling included; what clients read goes out as text. */
export const settingsRegistry = {
  /** Public address of this server. */
  server_ip: setting({
    type: optional(address),
    fallback: '',
    seed: ({ wgEasy: { host: name } }) => (name !== null && isAddress(name) ? name : null),
  }),
  /** Host in client configs; `server_ip` when empty. */
  custom_endpont: setting({ type: optional(host), fallback: '', seed: (config) => config.wgEasy.host }),
  session_token: setting({
    type: anything,
    fallback: '********',
    readOnly: 'session_token is shown only: each login has a token of its own.',
  }),
  /** DNS servers in client configs. */
  dns: setting({
    type: dnsServers,
    fallback: '8.8.8.8',
    seed: (config) => wgEasy(config, config.wgEasy.defaultDns),
  }),
  /** `{"user", "password"}` of the first admin, whose record is the user's. */
  admin: setting({ type: anything, fallback: '{"user":"","password":""}' }),
  status: setting({ type: flag, fallback: '1' }),
  /** The operator's own lines; live warnings are added when it is shown. */
  alert: setting({ type: lines, fallback: '[]' }),
  /** Hours between restarts of the interfaces; 0 never. */
  reset_time: setting({ type: wholeNumber(0, 8760, 'hours, 0 is never'), fallback: '0' }),
  mtu: setting({ type: wholeNumber(1280, 1500, 'bytes'), fallback: '1420' }),
  bandwidth: setting({
    type: anything,
    fallback: '0',
    readOnly: 'bandwidth is shown only: it is the traffic of all clients, as measured.',
  }),
  uptime: setting({ type: anything, fallback: '0', readOnly: 'uptime is shown only: it is measured.' }),
  /** The WireGuard server was installed. */
  install: setting({ type: flag, fallback: '0', readOnly: 'install is shown only: POST /install sets it, once.' }),
  telegram_bot_status: setting({ type: flag, fallback: '0' }),
  telegram_bot_admin_id: setting({
    type: optionalOrZero(matching('a numeric Telegram id', /^-?[1-9]\d{0,15}$/)),
    fallback: '0',
  }),
  telegram_bot_token: setting({
    type: optionalOrZero(matching('a bot token as BotFather gives it', /^\d{1,20}:[\w-]{8,128}$/)),
    fallback: (config) => config.telegramBotToken ?? '0',
    secret: true,
  }),
  telegram_bot_prices: setting({ type: prices, fallback: '{"per_month":75000,"per_gb":4000}' }),
  /** `{"<name>": "********"}` */
  api_tokens: setting({
    type: anything,
    fallback: '{}',
    readOnly: 'api_tokens is shown only: POST /api-tokens and DELETE /api-tokens/{name} change them.',
  }),
  auto_backup: setting({ type: flag, fallback: '1' }),
  /** What happens to a client past its date or quota, beside being cut off. */
  expired_client_action: setting({ type: choice('disable', 'delete'), fallback: 'disable' }),
  /** Seconds between polls of the engines. */
  sync_interval: setting({
    type: wholeNumber(1, 3600, 'seconds'),
    fallback: (config) => String(config.syncIntervalSeconds),
  }),
  /** Base of links that lead back here, without trailing slash. */
  public_url: setting({ type: optional(httpUrl), fallback: (config) => config.publicUrl ?? '' }),
  /** Seconds; 0 is off. In client configs. */
  persistent_keepalive: setting({
    type: wholeNumber(0, 65535, 'seconds, 0 is off'),
    fallback: '25',
    seed: (config) => wgEasy(config, String(config.wgEasy.persistentKeepalive)),
  }),
  /** What clients send through the tunnel. In client configs. */
  allowed_ips: setting({
    type: cidrs,
    fallback: '0.0.0.0/0, ::/0',
    seed: (config) => wgEasy(config, config.wgEasy.allowedIps),
  }),
  /** Interfaces that have an IPv6 network use it. */
  ipv6: setting({ type: flag, fallback: '1' }),
  /** Whose password opens a wg-easy session; the first admin's when empty. */
  wg_easy_user: setting({ type: optional(shortText(150)), fallback: '' }),
  /** Clients may reach each other. */
  allow_peers: setting({ type: flag, fallback: '1' }),
  /** Clients may reach this host on its own tunnel address. */
  allow_host: setting({ type: flag, fallback: '1' }),
  /** Clients may reach the private networks behind this host. */
  allow_lan: setting({ type: flag, fallback: '1' }),
} as const satisfies Record<string, SettingDefinition<never> | SettingDefinition<unknown>>;

export type SettingKey = keyof typeof settingsRegistry;

export type SettingValue<K extends SettingKey> =
  (typeof settingsRegistry)[K] extends SettingDefinition<infer T> ? T : never;

export const settingKeys = Object.keys(settingsRegistry) as SettingKey[];

/** Names that clients also use. */
const aliases: Readonly<Record<string, SettingKey>> = { custom_endpoint: 'custom_endpont' };

export function settingKey(name: string): SettingKey | undefined {
  if (Object.hasOwn(aliases, name)) return aliases[name];
  return Object.hasOwn(settingsRegistry, name) ? (name as SettingKey) : undefined;
}
