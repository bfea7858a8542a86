import { applyDecorators } from '@nestjs/common';
import { ApiProperty } from '@nestjs/swagger';
import { Transform } from 'class-transformer';
import { ValidateBy } from 'class-validator';
import { parseUtc } from '../../platform/clock/clock.js';

/** A time as ISO 8601 text; without an offset it is UTC. The field is a Date. */
export function IsUtcDate(): PropertyDecorator {
  return applyDecorators(
    Transform(({ value }: { value: unknown }) => (typeof value === 'string' ? (parseUtc(value) ?? value) : value)),
    ValidateBy({
      name: 'isUtcDate',
      validator: {
        validate: (value: unknown) => value instanceof Date,
        defaultMessage: () => '$property must be a time such as 2030-01-31T12:00:00',
      },
    }),
    ApiProperty({ type: 'string', example: '2030-01-31T12:00:00' }),
  );
}
