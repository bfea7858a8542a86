import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import {
  newRecoveryPhrase,
  RecoveryPhraseError,
  recoveryPublicKey,
  unwrapWithPhrase,
  wrapForRecovery,
} from '../../src/platform/crypto/recovery-phrase.js';

describe('the recovery phrase', () => {
  const { phrase, publicKey } = newRecoveryPhrase();

  it('has twelve words and always the same public key, however it is typed', () => {
    expect(phrase.split(' ')).toHaveLength(12);
    expect(publicKey).toHaveLength(32);
    expect(recoveryPublicKey(phrase).equals(publicKey)).toBe(true);
    expect(recoveryPublicKey(`\n ${phrase.toUpperCase().replaceAll(' ', '  ')} `).equals(publicKey)).toBe(true);
  });

  it('keeps its meaning for ever: archives of today are restored in years', () => {
    const fixed = 'abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about';
    expect(recoveryPublicKey(fixed).toString('hex')).toBe(
      'e8c6f02f5200dbdf5f26a196b219388873a2d1f64672cf79f5db1d507a187003',
    );
  });

  it('unwraps what was wrapped with the public key alone', () => {
    const dataKey = randomBytes(32);
    const wrapped = wrapForRecovery(publicKey, dataKey);
    expect(unwrapWithPhrase(phrase, wrapped).equals(dataKey)).toBe(true);
    expect(wrapForRecovery(publicKey, dataKey).equals(wrapped)).toBe(false);
  });

  it('refuses another phrase and any changed byte', () => {
    const wrapped = wrapForRecovery(publicKey, randomBytes(32));
    expect(() => unwrapWithPhrase(newRecoveryPhrase().phrase, wrapped)).toThrow(RecoveryPhraseError);
    for (let at = 0; at < wrapped.length; at += 1) {
      const changed = Buffer.from(wrapped);
      changed[at] = changed[at]! ^ 1;
      expect(() => unwrapWithPhrase(phrase, changed), `byte ${at}`).toThrow(RecoveryPhraseError);
    }
    expect(() => unwrapWithPhrase(phrase, wrapped.subarray(0, 40))).toThrow(RecoveryPhraseError);
  });

  it('tells a mistyped phrase without repeating its words', () => {
    const words = phrase.split(' ');
    for (const wrong of ['', words.slice(1).join(' '), ['zzzz', ...words.slice(1)].join(' ')]) {
      expect(() => recoveryPublicKey(wrong)).toThrow(RecoveryPhraseError);
      expect(() => recoveryPublicKey(wrong)).not.toThrow(/zzzz/);
    }
  });
});
