import { describe, expect, it } from 'vitest';
import { equalSecrets } from '../../src/platform/crypto/constant-time.js';
import { hashPassword, PasswordsBusyError, verifyPassword, wasteVerify } from '../../src/platform/crypto/passwords.js';

describe('passwords', () => {
  it('are hashed with argon2id and checked', async () => {
    const stored = await hashPassword('correct horse');
    expect(stored).toMatch(/^\$argon2id\$v=19\$m=19456,t=2,p=1\$/);
    expect(await verifyPassword(stored, 'correct horse')).toBe(true);
    expect(await verifyPassword(stored, 'wrong horse')).toBe(false);
    expect(await wasteVerify('correct horse')).toBe(false);
  });

  it('are turned away when too many wait, and checked again afterwards', async () => {
    const stored = await hashPassword('x');
    const results = await Promise.allSettled(Array.from({ length: 600 }, () => verifyPassword(stored, 'x')));
    const refused = results.filter((result) => result.status === 'rejected');
    expect(refused.length).toBeGreaterThanOrEqual(97);
    expect(refused.length).toBeLessThanOrEqual(99);
    for (const result of refused) expect(result.reason).toBeInstanceOf(PasswordsBusyError);
    expect(results.every((result) => result.status === 'rejected' || result.value)).toBe(true);
    expect(await verifyPassword(stored, 'x')).toBe(true);
  });

  it('that cannot be checked give their place back', async () => {
    for (let round = 0; round < 10; round += 1) await expect(verifyPassword('no hash', 'x')).rejects.toThrow();
    expect(await wasteVerify('x')).toBe(false);
  });

  it('and tokens are compared whole', () => {
    expect(equalSecrets('abc', 'abc')).toBe(true);
    expect(equalSecrets('abc', 'abcd')).toBe(false);
    expect(equalSecrets('', 'a')).toBe(false);
    expect(equalSecrets('abc', Buffer.from('abc'))).toBe(true);
  });
});
