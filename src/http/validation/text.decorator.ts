import { applyDecorators } from '@nestjs/common';
import { ApiProperty } from '@nestjs/swagger';
import { ValidateBy } from 'class-validator';

/**
 * Text of so many characters. Control characters are refused but for line breaks and tabs where `multiline` is set:
 * PostgreSQL stores no NUL, and the rest has no place in a name or a note.
 */
export function IsText(least: number, most: number, options: { multiline?: boolean } = {}): PropertyDecorator {
  const forbidden = options.multiline ? /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/ : /[\u0000-\u001f\u007f]/;
  return applyDecorators(
    ValidateBy({
      name: 'isText',
      validator: {
        validate: (value: unknown) =>
          typeof value === 'string' && value.length >= least && value.length <= most && !forbidden.test(value),
        defaultMessage: () => `$property must be text of ${least} to ${most} characters without control characters`,
      },
    }),
    ApiProperty({ type: 'string', minLength: least, maxLength: most }),
  );
}
