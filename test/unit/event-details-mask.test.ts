import { describe, expect, it } from 'vitest';
import { MASK, maskDetails } from '../../src/domain/events/details-mask.js';
import { printable } from '../../src/domain/events/printable.js';

describe('details of an event', () => {
  it.each([
    'password',
    'adminPassword',
    'PGPASSWORD',
    'passphrase',
    'token',
    'access_token',
    'telegram_bot_token',
    'secret',
    'SECRET_KEY',
    'private_key',
    'privateKey',
    'presharedKey',
    'preshared_key',
    'psk',
    'Authorization',
    'set-cookie',
    'api-key',
    'totp',
    'credentials',
  ])('lose the value of %s', (name) => {
    expect(maskDetails({ [name]: 'hunter22' })).toEqual({ [name]: MASK });
  });

  it.each(['public_key', 'key', 'username', 'passed', 'tokenVersion', 'token_name', 'scope', 'keys'])(
    'keep the value of %s',
    (name) => {
      expect(maskDetails({ [name]: 'shown' })).toEqual({ [name]: 'shown' });
    },
  );

  it('are masked however deep they lie, in lists, maps and whole objects', () => {
    const details = {
      before: { clients: [{ name: 'a', privateKey: 'x' }], map: new Map([['token', 'x']]) },
      after: { credentials: { user: 'u', value: 'x' }, key: Buffer.from('x') },
    };
    expect(maskDetails(details)).toEqual({
      before: { clients: [{ name: 'a', privateKey: MASK }], map: { token: MASK } },
      after: { credentials: MASK, key: MASK },
    });
  });

  it('say whether there is a secret', () => {
    expect(maskDetails({ password: null, totpEnabled: true, hasToken: true })).toEqual({
      password: null,
      totpEnabled: true,
      hasToken: true,
    });
  });

  it('are always JSON, without the characters that PostgreSQL refuses in it', () => {
    const loop: Record<string, unknown> = { text: 'a\0b\nc\ud800', big: 2n ** 63n, at: new Date(0), nan: Number.NaN };
    loop['self'] = loop;
    const masked = maskDetails({ loop, gone: undefined, call: () => 1 });
    const text = JSON.stringify(masked);
    expect(JSON.parse(text)).toMatchObject({
      loop: {
        text: 'a\\u0000b\\nc\\ud800',
        big: '9223372036854775808',
        at: '1970-01-01T00:00:00.000Z',
        nan: null,
      },
      call: null,
    });
  });

  it('are cut when they are long', () => {
    const masked = maskDetails({ text: 'x'.repeat(5000), list: Array.from({ length: 900 }, (_, index) => index) });
    expect((masked['text'] as string).length).toBeLessThan(2100);
    expect(masked['list']).toHaveLength(200);
  });
});

describe('a printable text', () => {
  it('is one line', () => {
    expect(printable('wg0\nINFO root logged in\r\u2028\u0007')).toBe('wg0\\nINFO root logged in\\u000d\\u2028\\u0007');
    expect(printable('имя 名前 🙂')).toBe('имя 名前 🙂');
  });
});
