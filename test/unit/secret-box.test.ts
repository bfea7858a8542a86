import { describe, expect, it } from 'vitest';
import { SecretBox, SecretBoxError, type SecretBoxFault } from '../../src/platform/crypto/secret-box.js';

function faultOf(action: () => unknown): SecretBoxFault | null {
  try {
    action();
  } catch (error) {
    if (error instanceof SecretBoxError) return error.fault;
    throw error;
  }
  return null;
}

describe('the secret box', () => {
  const box = new SecretBox('a'.repeat(32));

  it('opens what it sealed, texts and bytes of any length', () => {
    for (const text of ['', 'x', 'ключ 🔑', 'y'.repeat(100_000)]) {
      expect(box.open('test/one', box.seal('test/one', text))).toBe(text);
    }
    const bytes = Buffer.from([0, 255, 128, 10]);
    expect(box.openBytes('test/one', box.seal('test/one', bytes)).equals(bytes)).toBe(true);
  });

  it('never gives the same bytes twice and adds 33 bytes', () => {
    const one = box.seal('test/one', 'secret');
    expect(one.equals(box.seal('test/one', 'secret'))).toBe(false);
    expect(one).toHaveLength(6 + 33);
    expect(one.includes('secret')).toBe(false);
  });

  it('refuses another label, a changed byte anywhere, and a cut end', () => {
    const sealed = box.seal('test/one', 'secret');
    expect(faultOf(() => box.open('test/two', sealed))).toBe('damaged');
    for (let at = 0; at < sealed.length; at += 1) {
      const changed = Buffer.from(sealed);
      changed[at] = changed[at]! ^ 1;
      expect(
        faultOf(() => box.open('test/one', changed)),
        `byte ${at}`,
      ).not.toBeNull();
    }
    expect(faultOf(() => box.open('test/one', sealed.subarray(0, -1)))).toBe('damaged');
    expect(faultOf(() => box.open('test/one', sealed.subarray(0, 20)))).toBe('malformed');
    expect(faultOf(() => box.open('test/one', Buffer.alloc(0)))).toBe('malformed');
  });

  it('opens values of the previous key, seals with the current one, and tells which are old', () => {
    const old = box.seal('test/one', 'secret');
    const next = new SecretBox('b'.repeat(32), 'a'.repeat(32));
    expect(next.open('test/one', old)).toBe('secret');
    expect(next.needsRotation(old)).toBe(true);
    const renewed = next.seal('test/one', 'secret');
    expect(next.needsRotation(renewed)).toBe(false);
    expect(faultOf(() => box.open('test/one', renewed))).toBe('unknown_key');
    expect(faultOf(() => new SecretBox('b'.repeat(32)).needsRotation(old))).toBe('unknown_key');
  });

  it('does not call a value old when both keys are the same', () => {
    const same = new SecretBox('a'.repeat(32), 'a'.repeat(32));
    expect(same.needsRotation(box.seal('test/one', 'x'))).toBe(false);
    expect(same.needsRotation(same.seal('test/one', 'x'))).toBe(false);
  });

  it('derives keys that depend on secret, label and length alone', () => {
    expect(box.deriveKey('jwt')).toHaveLength(32);
    expect(box.deriveKey('jwt', 64)).toHaveLength(64);
    expect(box.deriveKey('jwt').equals(new SecretBox('a'.repeat(32)).deriveKey('jwt'))).toBe(true);
    expect(box.deriveKey('jwt').equals(box.deriveKey('hmac'))).toBe(false);
    expect(box.deriveKey('jwt').equals(new SecretBox('b'.repeat(32)).deriveKey('jwt'))).toBe(false);
  });

  it('opens 10,000 keys in the time of a list', () => {
    const sealed = Array.from({ length: 10_000 }, (_, index) => box.seal('test/one', `key ${index}`.padEnd(44, '=')));
    for (const one of sealed.slice(0, 2_000)) box.open('test/one', one);
    const began = process.cpuUsage();
    for (const one of sealed) box.open('test/one', one);
    const used = process.cpuUsage(began);
    // A loaded machine takes several times as long as an idle one (about 50 ms).
    expect((used.user + used.system) / 1000).toBeLessThan(500);
  });
});
