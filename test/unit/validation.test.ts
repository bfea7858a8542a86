import 'reflect-metadata';
import { IsOptional, ValidateNested } from 'class-validator';
import { Type } from 'class-transformer';
import { describe, expect, it } from 'vitest';
import { ValidationError } from '../../src/http/to-domain-error.js';
import { IsByteCount, IsPort } from '../../src/http/validation/numbers.decorator.js';
import { requestValidation } from '../../src/http/validation/request-validation.pipe.js';
import { IsText } from '../../src/http/validation/text.decorator.js';
import { IsUtcDate } from '../../src/http/validation/times.decorator.js';

class Inner {
  @IsText(1, 5)
  name: string;
}

class Sample {
  @IsOptional()
  @IsByteCount()
  traffic?: string;

  @IsOptional()
  @IsPort()
  port?: number;

  @IsOptional()
  @IsUtcDate()
  expires?: Date;

  @IsOptional()
  @IsText(1, 10)
  note?: string;

  @IsOptional()
  @ValidateNested()
  @Type(() => Inner)
  inner?: Inner;
}

const pipe = requestValidation();
const read = (body: unknown) =>
  pipe.transform(body, { type: 'body', metatype: Sample }) as Promise<Record<string, unknown>>;

const faults = async (body: unknown): Promise<unknown> => {
  const error: unknown = await read(body).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(ValidationError);
  return (error as ValidationError).fields.map(({ field, message }) => [field, message]);
};

describe('reading a request', () => {
  it('takes byte counts as numbers and as text, exact up to 2^63-1', async () => {
    expect((await read({ traffic: 0 }))['traffic']).toBe('0');
    expect((await read({ traffic: '0053687091200' }))['traffic']).toBe('53687091200');
    expect((await read({ traffic: '9223372036854775807' }))['traffic']).toBe('9223372036854775807');
  });

  it.each([-1, 1.5, '9223372036854775808', '1e3', '', ' 1', true, [], {}, 2 ** 60])(
    'refuses %s as a byte count',
    async (traffic) => {
      expect(await faults({ traffic })).toEqual([
        ['traffic', 'traffic must be a whole number of bytes from 0 to 9223372036854775807'],
      ]);
    },
  );

  it('takes ports as numbers and as text', async () => {
    expect((await read({ port: '51820' }))['port']).toBe(51820);
    expect((await read({ port: 1 }))['port']).toBe(1);
  });

  it.each([0, 65536, '0', '65536', '5e3', 1.5, true, 'x'])('refuses %s as a port', async (port) => {
    expect(await faults({ port })).toEqual([['port', 'port must be a whole number from 1 to 65535']]);
  });

  it('takes times without an offset for UTC', async () => {
    expect((await read({ expires: '2030-01-31T12:00:00' }))['expires']).toEqual(new Date('2030-01-31T12:00:00Z'));
    expect(await faults({ expires: '2030-02-31' })).toEqual([
      ['expires', 'expires must be a time such as 2030-01-31T12:00:00'],
    ]);
  });

  it('drops fields that it does not know', async () => {
    expect(await read({ note: 'x', role: 'admin' })).toEqual({ note: 'x' });
  });

  it('names each bad field once, nested ones by their path', async () => {
    expect(await faults({ note: 'a\u0000b', port: 0, inner: { name: '' } })).toEqual([
      ['port', expect.stringContaining('port must') as unknown],
      ['note', expect.stringContaining('without control characters') as unknown],
      ['inner.name', expect.stringContaining('inner.name must') as unknown],
    ]);
  });

  it('refuses a body that is no object', async () => {
    for (const body of [[], 'text', 1, true]) {
      expect(await faults(body)).toEqual([['body', 'The request body must be a JSON object']]);
    }
  });
});
