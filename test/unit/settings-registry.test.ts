import { describe, expect, it } from 'vitest';
import type { SettingDefinition } from '../../src/domain/settings/settings.registry.js';
import { settingKey, settingKeys, settingsRegistry } from '../../src/domain/settings/settings.registry.js';
import { loadConfig } from '../../src/platform/config/config.loader.js';

type Key = keyof typeof settingsRegistry;
const stored = (key: Key, text: string): string | undefined => {
  const { type } = settingsRegistry[key] as SettingDefinition<unknown>;
  const value = type.parse(text);
  return value === undefined ? undefined : type.format(value);
};

describe('a setting', () => {
  it.each<[Key, string, string]>([
    ['server_ip', ' 203.0.113.5 ', '203.0.113.5'],
    ['server_ip', '2001:db8::1', '2001:db8::1'],
    ['server_ip', '', ''],
    ['custom_endpont', 'vpn.example.org', 'vpn.example.org'],
    ['custom_endpont', '203.0.113.5', '203.0.113.5'],
    ['dns', '8.8.8.8,1.1.1.1', '8.8.8.8, 1.1.1.1'],
    ['dns', '10.0.0.53, home.lan', '10.0.0.53, home.lan'],
    ['dns', '2606:4700:4700::1111', '2606:4700:4700::1111'],
    ['dns', '', ''],
    ['status', 'true', '1'],
    ['alert', '["Welcome To Candy Panel - by AmiRCandy"]', '["Welcome To Candy Panel - by AmiRCandy"]'],
    ['alert', '[\n  "two"\n]', '["two"]'],
    ['reset_time', '0', '0'],
    ['mtu', '1280', '1280'],
    ['mtu', '1500', '1500'],
    ['telegram_bot_admin_id', '0', '0'],
    ['telegram_bot_admin_id', '123456789', '123456789'],
    ['telegram_bot_token', '', '0'],
    ['telegram_bot_prices', '{ "per_month": 0, "per_gb": 4000 }', '{"per_month":0,"per_gb":4000}'],
    ['auto_backup', '0', '0'],
    ['expired_client_action', 'delete', 'delete'],
    ['sync_interval', '3600', '3600'],
    ['public_url', 'https://vpn.example.org/panel/', 'https://vpn.example.org/panel'],
    ['persistent_keepalive', '65535', '65535'],
    ['allowed_ips', '0.0.0.0/0,::/0', '0.0.0.0/0, ::/0'],
    ['allow_lan', '0', '0'],
  ])('%s takes %j', (key, text, canonical) => {
    expect(stored(key, text)).toBe(canonical);
    expect(stored(key, canonical)).toBe(canonical);
  });

  it.each<[Key, string]>([
    ['server_ip', '300.1.1.1'],
    ['server_ip', 'fe80::1%eth0'],
    ['server_ip', '203.0.113.5\nPostUp = id'],
    ['custom_endpont', '300.1.1.1'],
    ['custom_endpont', 'host:51820'],
    ['custom_endpont', 'a b'],
    ['custom_endpont', '-x.example'],
    ['custom_endpont', 'vpn.example.org\nPostUp = id'],
    ['dns', 'home.lan'],
    ['dns', '8.8.8.8,,1.1.1.1'],
    ['dns', '8.8.8.8\n1.1.1.1'],
    ['dns', Array.from({ length: 9 }, () => '8.8.8.8').join(',')],
    ['status', '2'],
    ['status', 'toString'],
    ['alert', 'hello'],
    ['alert', '{"0":"x"}'],
    ['alert', '[1]'],
    ['alert', '["a\\nb"]'],
    ['alert', JSON.stringify(Array.from({ length: 51 }, () => 'x'))],
    ['reset_time', '-1'],
    ['reset_time', '1.5'],
    ['reset_time', '1e3'],
    ['mtu', '1279'],
    ['mtu', '1501'],
    ['mtu', '01420'],
    ['mtu', ''],
    ['telegram_bot_admin_id', '@someone'],
    ['telegram_bot_token', 'abc'],
    ['telegram_bot_prices', '{"per_gb":-1}'],
    ['telegram_bot_prices', '{"per_gb":1.5}'],
    ['telegram_bot_prices', '{"per_gb":"4000"}'],
    ['telegram_bot_prices', '{"__proto__":1}'],
    ['telegram_bot_prices', '[]'],
    ['telegram_bot_prices', 'null'],
    ['expired_client_action', 'keep'],
    ['sync_interval', '0'],
    ['sync_interval', '3601'],
    ['public_url', 'ftp://vpn.example.org'],
    ['public_url', 'https://user:password@vpn.example.org'],
    ['public_url', 'javascript:alert(1)'],
    ['persistent_keepalive', '65536'],
    ['allowed_ips', ''],
    ['allowed_ips', '0.0.0.0'],
    ['allowed_ips', '0.0.0.0/33'],
    ['allowed_ips', '::/129'],
    ['wg_easy_user', 'a\tb'],
  ])('%s refuses %j', (key, text) => {
    expect(stored(key, text)).toBeUndefined();
  });

  it('has a default that it would take itself, whatever the environment says', () => {
    const config = loadConfig({
      SYNC_INTERVAL: '60',
      PUBLIC_URL: 'https://vpn.example.org/',
      TELEGRAM_BOT_TOKEN: '12345678:abcdefgh_ijklmnop-qrstuvwxyz',
    });
    for (const key of settingKeys) {
      const { fallback } = settingsRegistry[key];
      const text = typeof fallback === 'string' ? fallback : fallback(config);
      expect(stored(key, text), key).toBe(text);
    }
  });

  it('is seeded by an environment of wg-easy, and by nothing of it without the password', () => {
    const seeds = (env: Record<string, string>) => {
      const config = loadConfig(env);
      const entries = settingKeys.map((key) => {
        const { seed }: SettingDefinition<never> = settingsRegistry[key] as SettingDefinition<never>;
        return [key, seed?.(config) ?? null] as const;
      });
      return Object.fromEntries(entries.filter(([, text]) => text !== null));
    };
    expect(seeds({ WG_PASSWORD: 'secret-of-old', WG_HOST: 'vpn.example.org', WG_DEFAULT_DNS: '9.9.9.9' })).toEqual({
      custom_endpont: 'vpn.example.org',
      dns: '9.9.9.9',
      persistent_keepalive: '0',
      allowed_ips: '0.0.0.0/0, ::/0',
    });
    expect(seeds({ WG_HOST: '203.0.113.5' })).toEqual({ custom_endpont: '203.0.113.5', server_ip: '203.0.113.5' });
    expect(seeds({})).toEqual({});
  });

  it('is found by its stored name, by the spelling that clients correct, and by nothing else', () => {
    expect(settingKey('custom_endpont')).toBe('custom_endpont');
    expect(settingKey('custom_endpoint')).toBe('custom_endpont');
    for (const name of ['', 'MTU', 'constructor', '__proto__', 'toString']) expect(settingKey(name)).toBeUndefined();
  });
});
