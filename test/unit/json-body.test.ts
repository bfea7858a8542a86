import { describe, expect, it } from 'vitest';
import { parseJsonBody } from '../../src/http/json-body.js';
import { serializeReply } from '../../src/http/json-reply.js';

describe('reading a JSON body', () => {
  it('takes an empty one for {}', () => {
    expect(parseJsonBody('')).toEqual({});
    expect(parseJsonBody(' \r\n')).toEqual({});
  });

  it('reads what JSON.parse reads', () => {
    const body = { a: [1, -2.5, 1e3, true, null], b: { c: 'x "quoted" \\ 12345678901234567890' } };
    expect(parseJsonBody(JSON.stringify(body))).toEqual(body);
    expect(parseJsonBody(`\ufeff${JSON.stringify(body)}`)).toEqual(body);
  });

  it('keeps integers beyond 2^53 exact, as text', () => {
    expect(parseJsonBody('{"a": 9223372036854775807, "b": [-9223372036854775808]}')).toEqual({
      a: '9223372036854775807',
      b: ['-9223372036854775808'],
    });
    expect(parseJsonBody('{"a": 9007199254740991}')).toEqual({ a: 9007199254740991 });
    expect(parseJsonBody('{"a": 1234567.25, "b": 1e300}')).toEqual({ a: 1234567.25, b: 1e300 });
    expect(parseJsonBody('{"a": "9223372036854775807"}')).toEqual({ a: '9223372036854775807' });
  });

  it.each(['{', '{"a":}', 'nothing', '{"a": 01}', "{'a': 1}", '"', '{"a":"\\', '{12345678901234567890: 1}', '[1 2]'])(
    'refuses malformed JSON: %s',
    (text) => {
      expect(() => parseJsonBody(text)).toThrow('not valid JSON');
    },
  );

  it.each(['{"__proto__": {"x": 1}}', '{"a": {"__proto__": 1}}', '{"constructor": {"prototype": {"x": 1}}}'])(
    'refuses keys that reach for prototypes: %s',
    (text) => {
      expect(() => parseJsonBody(text)).toThrow('not valid JSON');
      expect(({} as Record<string, unknown>)['x']).toBeUndefined();
    },
  );

  it('refuses what nests too deeply, and does so quickly', () => {
    expect(() => parseJsonBody('['.repeat(500_000))).toThrow('nested too deeply');
    expect(() => parseJsonBody(`${'['.repeat(33)}${']'.repeat(33)}`)).toThrow('nested too deeply');
    expect(parseJsonBody(`${'['.repeat(32)}${']'.repeat(32)}`)).toBeInstanceOf(Array);
    expect(() => parseJsonBody('\\"'.repeat(500_000))).toThrow('not valid JSON');
  });
});

describe('writing an answer', () => {
  it('prints a bigint as an exact JSON integer', () => {
    expect(serializeReply({ a: 9223372036854775807n, b: [-1n, { c: 0n }], d: 'x' })).toBe(
      '{"a":9223372036854775807,"b":[-1,{"c":0}],"d":"x"}',
    );
  });

  it('prints everything else as JSON.stringify does', () => {
    const answer = { at: new Date(0), text: 'bigint:00:1', list: [1, null], gone: undefined };
    expect(serializeReply(answer)).toBe(JSON.stringify(answer));
    expect(serializeReply({ ...answer, n: 1n })).toBe(JSON.stringify({ ...answer, n: 1 }));
  });
});
