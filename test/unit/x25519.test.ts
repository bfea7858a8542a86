import { describe, expect, it } from 'vitest';
import {
  generateKeyPair,
  generatePresharedKey,
  isWireguardKey,
  publicKeyOf,
} from '../../src/platform/crypto/x25519.js';

describe('WireGuard keys', () => {
  it('come in pairs whose public half follows from the private one', () => {
    for (let round = 0; round < 20; round += 1) {
      const { privateKey, publicKey } = generateKeyPair();
      expect(isWireguardKey(privateKey)).toBe(true);
      expect(isWireguardKey(publicKey)).toBe(true);
      expect(publicKeyOf(privateKey)).toBe(publicKey);
    }
  });

  it('are told from other text', () => {
    const key = generatePresharedKey();
    expect(isWireguardKey(key)).toBe(true);
    for (const text of ['', key.slice(1), `${key}\n`, ` ${key}`, key.replace('=', ''), `${'A'.repeat(42)}B=`]) {
      expect(isWireguardKey(text)).toBe(false);
      expect(() => publicKeyOf(text)).toThrow(TypeError);
    }
  });
});
