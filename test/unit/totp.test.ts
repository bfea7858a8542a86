import { describe, expect, it } from 'vitest';
import { checkTotp, newTotpSecret, totpUri } from '../../src/platform/crypto/totp.js';

describe('one-time codes', () => {
  // RFC 6238, appendix B, SHA-1, the last six of its eight digits.
  const secret = 'GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ';
  const at = 1_111_111_109_000;
  const step = Math.floor(1_111_111_109 / 30);
  const code = '081804';

  it('are those of the RFC', () => {
    expect(checkTotp(secret, code, null, at)).toBe(step);
    expect(checkTotp(secret, '050471', null, 1_111_111_111_000)).toBe(step + 1);
  });

  it('may be one step early or late, no more', () => {
    expect(checkTotp(secret, code, null, at + 30_000)).toBe(step);
    expect(checkTotp(secret, code, null, at - 30_000)).toBe(step);
    expect(checkTotp(secret, code, null, at + 60_000)).toBeNull();
    expect(checkTotp(secret, code, null, at - 60_000)).toBeNull();
  });

  it('count once', () => {
    expect(checkTotp(secret, code, step, at)).toBeNull();
    expect(checkTotp(secret, code, step + 1, at)).toBeNull();
    expect(checkTotp(secret, code, step - 1, at)).toBe(step);
  });

  it('that are no six digits are wrong, not a fault', () => {
    for (const text of ['', '08180', '0818044', 'abcdef', '08180٤', ' 081804']) {
      expect(checkTotp(secret, text, null, at)).toBeNull();
    }
  });

  it('come from secrets that apps can scan', () => {
    const fresh = newTotpSecret();
    expect(fresh).toMatch(/^[A-Z2-7]{32}$/);
    const uri = new URL(totpUri(fresh, 'admin', 'Causeway'));
    expect(uri.protocol).toBe('otpauth:');
    expect(uri.searchParams.get('secret')).toBe(fresh);
    expect(uri.searchParams.get('issuer')).toBe('Causeway');
  });
});
