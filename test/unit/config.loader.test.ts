import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ConfigError, loadConfig } from '../../src/platform/config/config.loader.js';

const KEY = 'k'.repeat(32);

function faultsOf(env: Record<string, string | undefined>): readonly string[] {
  try {
    loadConfig(env);
  } catch (error) {
    if (error instanceof ConfigError) return error.faults;
    throw error;
  }
  return [];
}

describe('the configuration', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'config-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  it('has the documented defaults when nothing is set', () => {
    const config = loadConfig({});
    expect(config).toMatchObject({
      port: 8000,
      host: '0.0.0.0',
      databaseUrl: null,
      redisUrl: null,
      secretKey: null,
      adminUsername: 'admin',
      adminPassword: null,
      allowWeakPasswords: false,
      wgEasy: {
        password: null,
        host: null,
        port: 51820,
        defaultDns: '1.1.1.1',
        allowedIps: '0.0.0.0/0, ::/0',
        persistentKeepalive: 0,
      },
      wireguard: 'auto',
      wireguardNat: true,
      xray: 'auto',
      syncIntervalSeconds: 10,
      rateLimitFactor: 1,
      trustProxy: false,
      corsOrigins: [],
      logLevel: 'info',
      role: 'all',
      supervised: false,
      metricsToken: null,
      backupPassphrase: null,
    });
    expect(config.dataDir).toBe(process.getuid?.() === 0 ? '/var/lib/causeway' : join(process.cwd(), 'data'));
  });

  it('takes an empty variable for an unset one', () => {
    expect(loadConfig({ PORT: '', ADMIN_PASSWORD: '', WG_DEFAULT_DNS: ' ', ROLE: '' })).toEqual(loadConfig({}));
  });

  it('reads each kind of value', () => {
    const config = loadConfig({
      PORT: '0',
      HOST: '::',
      DATA_DIR: 'somewhere',
      DATABASE_URL: 'postgres://u:p@db/causeway',
      SECRET_KEY: KEY,
      WG_HOST: 'vpn.example.org',
      WG_DEFAULT_DNS: '1.1.1.1,8.8.8.8, corp.example.org',
      WG_ALLOWED_IPS: '10.0.0.0/8,fd00::/8',
      WG_PERSISTENT_KEEPALIVE: '25',
      WIREGUARD: 'wireguard-go',
      WIREGUARD_NAT: 'off',
      XRAY_API: '[::1]:10085',
      DOCKER_HOST: 'tcp://10.0.0.5:2376',
      PUBLIC_URL: 'https://vpn.example.org/panel/',
      TRUST_PROXY: '127.0.0.1, 10.0.0.0/8, ::1',
      CORS_ORIGINS: 'https://a.example.org,http://localhost:3000',
      ROLE: 'worker',
      LOG_LEVEL: 'DEBUG',
    });
    expect(config).toMatchObject({
      port: 0,
      host: '::',
      dataDir: join(process.cwd(), 'somewhere'),
      secretKey: KEY,
      wgEasy: {
        host: 'vpn.example.org',
        defaultDns: '1.1.1.1, 8.8.8.8, corp.example.org',
        allowedIps: '10.0.0.0/8, fd00::/8',
        persistentKeepalive: 25,
      },
      wireguard: 'wireguard-go',
      wireguardNat: false,
      xrayApi: '[::1]:10085',
      dockerHost: 'tcp://10.0.0.5:2376',
      publicUrl: 'https://vpn.example.org/panel',
      trustProxy: ['127.0.0.1', '10.0.0.0/8', '::1'],
      corsOrigins: ['https://a.example.org', 'http://localhost:3000'],
      role: 'worker',
      logLevel: 'debug',
    });
  });

  it('accepts database addresses of Unix sockets', () => {
    for (const url of [
      'postgresql:///causeway?host=/run/postgresql',
      'postgres://u:p@/causeway?host=/run/postgresql',
    ]) {
      expect(loadConfig({ DATABASE_URL: url, SECRET_KEY: KEY }).databaseUrl).toBe(url);
    }
  });

  it('knows the rate limits on, off and x with a number', () => {
    expect(loadConfig({ RATE_LIMITS: 'on' }).rateLimitFactor).toBe(1);
    expect(loadConfig({ RATE_LIMITS: 'off' }).rateLimitFactor).toBe(Infinity);
    expect(loadConfig({ RATE_LIMITS: 'x0.5' }).rateLimitFactor).toBe(0.5);
    for (const RATE_LIMITS of ['x0', 'x-1', '10', 'x', 'xInfinity', 'none']) {
      expect(faultsOf({ RATE_LIMITS })).toHaveLength(1);
    }
  });

  it('knows proxies as true, false or a list of addresses', () => {
    expect(loadConfig({ TRUST_PROXY: 'true' }).trustProxy).toBe(true);
    expect(loadConfig({ TRUST_PROXY: 'false' }).trustProxy).toBe(false);
    for (const TRUST_PROXY of ['1', '10.0.0.0/33', '::/129', 'loopback', '10.0.0.256', 'fe80::1%eth0', ',']) {
      expect(faultsOf({ TRUST_PROXY })).toHaveLength(1);
    }
  });

  it('reads every secret from a file too, without its last line end', async () => {
    const path = join(folder, 'secret');
    const values: Record<string, string> = {
      SECRET_KEY: KEY,
      SECRET_KEY_PREVIOUS: KEY,
      ADMIN_PASSWORD: ' a password ',
      SETUP_TOKEN: 'token',
      WG_PASSWORD: 'password',
      DATABASE_URL: 'postgres://u:p@db/causeway',
      REDIS_URL: 'redis://:p@cache',
      TELEGRAM_BOT_TOKEN: '123456:abcdefghijk',
      ZARINPAL_MERCHANT_ID: '12345678-1234-1234-1234-123456789abc',
      METRICS_TOKEN: 'm'.repeat(16),
      BACKUP_PASSPHRASE: 'correct horse battery',
    };
    for (const [name, value] of Object.entries(values)) {
      await writeFile(path, `${value}\n`);
      const others = name === 'DATABASE_URL' ? { SECRET_KEY: KEY } : {};
      expect(loadConfig({ ...others, [`${name}_FILE`]: path })).toEqual(loadConfig({ ...others, [name]: value }));
    }
  });

  it('says what is wrong with a secret file', async () => {
    const empty = join(folder, 'empty');
    await writeFile(empty, '\n');
    expect(faultsOf({ SETUP_TOKEN_FILE: join(folder, 'nothing') })[0]).toContain('ENOENT');
    expect(faultsOf({ SETUP_TOKEN_FILE: folder })[0]).toContain('not a small regular file');
    expect(faultsOf({ SETUP_TOKEN_FILE: empty })[0]).toContain('is empty');
    expect(faultsOf({ SETUP_TOKEN_FILE: empty, SETUP_TOKEN: 'x' })[0]).toContain('both set');
  });

  it('requires a secret key with a database of its own, and that database for single roles', () => {
    expect(faultsOf({ DATABASE_URL: 'postgres://db/causeway' })).toEqual([
      'SECRET_KEY is required with DATABASE_URL; example: SECRET_KEY=<output of: openssl rand -hex 32>',
    ]);
    expect(faultsOf({ ROLE: 'api' })[0]).toContain('DATABASE_URL');
  });

  it('lists all faults together, one line each with an example', () => {
    const env = {
      PORT: '99999',
      WIREGUARD: 'maybe',
      WG_ALLOWED_IPS: '10.0.0.0',
      SYNC_INTERVAL: '1.5',
      SUPERVISED: 'so',
    };
    expect(faultsOf(env)).toHaveLength(5);
    expect(() => loadConfig(env)).toThrow(/5 faults:\n {2}PORT is "99999".*example: PORT=8000\n/);
  });

  it('refuses values that it does not know', () => {
    const wrong: Record<string, string[]> = {
      PORT: ['-1', '1e3', '0x10', '65536', 'http'],
      HOST: ['a b', 'http://x', '1.2.3', '1.2.3.4.5'],
      WG_PORT: ['0', '70000'],
      WG_DEFAULT_DNS: ['1.1.1.999', '1.1.1.1;8.8.8.8'],
      WG_PERSISTENT_KEEPALIVE: ['65536'],
      XRAY: ['on'],
      XRAY_API: ['10085', 'host:', 'host:0', '::1:5'],
      DOCKER_HOST: ['/var/run/docker.sock', 'ftp://x', 'unix://relative'],
      DATABASE_URL: ['mysql://x/y', 'causeway'],
      REDIS_URL: ['http://x'],
      SECRET_KEY: ['short'],
      ADMIN_PASSWORD: ['short'],
      ADMIN_USERNAME: ['a\nb', 'x'.repeat(65), 'a/b'],
      SETUP_TOKEN: ['two words', 'ключ'],
      METRICS_TOKEN: ['short'],
      PUBLIC_URL: ['vpn.example.org', 'https://u:p@x', 'https://x/?a=1'],
      TELEGRAM_BOT_TOKEN: ['abc'],
      ZARINPAL_MERCHANT_ID: ['1'],
      CORS_ORIGINS: ['*,https://a.example.org', 'https://a.example.org/'],
      LOG_LEVEL: ['loud'],
      ROLE: ['both'],
      ALLOW_REGISTRATION: ['maybe'],
    };
    for (const [name, values] of Object.entries(wrong)) {
      for (const value of values) {
        const faults = faultsOf({ ...(name === 'SECRET_KEY' ? {} : { SECRET_KEY: KEY }), [name]: value });
        expect(faults, `${name}=${value}`).toHaveLength(1);
        expect(faults[0]).toMatch(new RegExp(`^${name} `));
      }
    }
  });

  it('never repeats the value of a secret', () => {
    const secret = 'hunter2 hunter2';
    for (const name of ['DATABASE_URL', 'REDIS_URL', 'SECRET_KEY', 'SETUP_TOKEN', 'TELEGRAM_BOT_TOKEN']) {
      const faults = faultsOf({ [name]: secret });
      expect(faults.length).toBeGreaterThan(0);
      expect(faults.join()).not.toContain('hunter2');
    }
  });

  it('accepts a weak first password only where that is allowed', () => {
    expect(loadConfig({ ADMIN_PASSWORD: 'admin', ALLOW_WEAK_PASSWORDS: 'true' }).adminPassword).toBe('admin');
    expect(loadConfig({ WG_PASSWORD: 'old' }).wgEasy.password).toBe('old');
  });
});
