/** Everything the environment decides, parsed once at start. Secrets are plain here and never logged. */
export class Config {
  /** 0 takes any free port. */
  readonly port: number;
  readonly host: string;
  /** Absolute path. Embedded database, `secret.key`, backups. */
  readonly dataDir: string;
  /** Null: the embedded database. */
  readonly databaseUrl: string | null;
  readonly redisUrl: string | null;
  /** Null: made once as `DATA_DIR/secret.key`. */
  readonly secretKey: string | null;
  readonly secretKeyPrevious: string | null;
  readonly adminUsername: string;
  readonly adminPassword: string | null;
  readonly setupToken: string | null;
  readonly allowWeakPasswords: boolean;
  /** Seeds of an empty database, named as wg-easy documents them. */
  readonly wgEasy: {
    readonly password: string | null;
    readonly host: string | null;
    readonly port: number;
    /** Addresses and search domains, joined by `, `. */
    readonly defaultDns: string;
    /** CIDRs, joined by `, `. */
    readonly allowedIps: string;
    /** Seconds, 0 is off. */
    readonly persistentKeepalive: number;
  };
  readonly wireguard: 'auto' | 'kernel' | 'wireguard-go' | 'off';
  readonly wireguardNat: boolean;
  readonly xray: 'auto' | 'off';
  readonly xrayBin: string | null;
  /** `host:port` of a running engine. */
  readonly xrayApi: string | null;
  /** Null: `unix:///var/run/docker.sock` when it is there. */
  readonly dockerHost: string | null;
  readonly zarinpalMerchantId: string | null;
  readonly zarinpalBaseUrl: string | null;
  readonly telegramBotToken: string | null;
  readonly telegramApiRoot: string | null;
  /** Without a trailing slash, as all base URLs here. */
  readonly publicUrl: string | null;
  /** Seed of the setting `sync_interval`: seconds between polls. */
  readonly syncIntervalSeconds: number;
  readonly allowRegistration: boolean;
  readonly cardAutoApprove: boolean;
  readonly webhookAllowPrivate: boolean;
  readonly backupPassphrase: string | null;
  /** Multiplies the documented volume limits; Infinity is `off`, 1 is `on`. The login back-off is never touched. */
  readonly rateLimitFactor: number;
  /** Addresses or CIDRs of proxies whose forwarding headers count; true trusts any; false none. */
  readonly trustProxy: boolean | string[];
  /** Origins, or `*` alone. */
  readonly corsOrigins: string[];
  readonly logLevel: 'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace' | 'silent';
  readonly role: 'all' | 'api' | 'worker';
  /** A supervisor starts this process again when it ends. */
  readonly supervised: boolean;
  /** Bearer token that may read `/metrics`; METRICS_TOKEN. */
  readonly metricsToken: string | null;

  /** Takes every value ready made; `loadConfig` makes them from the environment. */
  constructor(values: Config) {
    Object.assign(this, values);
    Object.freeze(this);
  }
}
