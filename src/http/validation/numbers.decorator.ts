import { applyDecorators } from '@nestjs/common';
import { ApiProperty } from '@nestjs/swagger';
import { Transform } from 'class-transformer';
import { ValidateBy } from 'class-validator';

const MAX_BYTES = 2n ** 63n - 1n;

/**
 * A count of whole bytes from 0 to 2^63-1, sent as a number or a numeric string. The field is a decimal string,
 * without leading zeros: exact, and what a bigint column takes.
 */
export function IsByteCount(): PropertyDecorator {
  return applyDecorators(
    Transform(({ value }: { value: unknown }) => byteCount(value) ?? value),
    ValidateBy({
      name: 'isByteCount',
      validator: {
        validate: (value: unknown) => typeof value === 'string' && byteCount(value) === value,
        defaultMessage: () => '$property must be a whole number of bytes from 0 to 9223372036854775807',
      },
    }),
    ApiProperty({
      oneOf: [
        { type: 'integer', format: 'int64', minimum: 0, maximum: Number.MAX_SAFE_INTEGER },
        { type: 'string', pattern: '^\\d{1,19}$' },
      ],
      example: '53687091200',
    }),
  );
}

/** The decimal digits of a byte count, null for anything else. */
export function byteCount(value: unknown): string | null {
  if (typeof value === 'number') return Number.isSafeInteger(value) && value >= 0 ? String(value) : null;
  if (typeof value !== 'string' || !/^\d{1,25}$/.test(value)) return null;
  const count = BigInt(value);
  return count <= MAX_BYTES ? String(count) : null;
}

/** A whole number, sent as a number or a numeric string (`"51820"`). The field is a number. */
export function IsWholeNumber(least: number, most: number): PropertyDecorator {
  return applyDecorators(
    Transform(({ value }: { value: unknown }) => wholeNumber(value)),
    ValidateBy({
      name: 'isWholeNumber',
      validator: {
        validate: (value: unknown) => Number.isSafeInteger(value) && Number(value) >= least && Number(value) <= most,
        defaultMessage: () => `$property must be a whole number from ${least} to ${most}`,
      },
    }),
    ApiProperty({ type: 'integer', minimum: least, maximum: most }),
  );
}

/** A TCP or UDP port, sent as a number or a numeric string. The field is a number. */
export function IsPort(): PropertyDecorator {
  return IsWholeNumber(1, 65535);
}

function wholeNumber(value: unknown): unknown {
  return typeof value === 'string' && /^-?\d{1,15}$/.test(value) ? Number(value) : value;
}
