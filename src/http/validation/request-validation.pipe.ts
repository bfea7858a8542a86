import { ValidationPipe } from '@nestjs/common';
import type { ValidationError as ClassValidatorError } from 'class-validator';
import type { FieldFault } from '../dialect.js';
import { ValidationError } from '../to-domain-error.js';

/** Shape and bounds of everything that comes in. Unknown fields are dropped; one fault a field is told. */
export function requestValidation(): ValidationPipe {
  return new ValidationPipe({
    whitelist: true,
    transform: true,
    stopAtFirstError: true,
    validationError: { target: false, value: false },
    exceptionFactory: (errors) => new ValidationError(faultsOf(errors)),
  });
}

/** Flattens class-validator's tree; a nested field is named by its path. */
export function faultsOf(errors: readonly ClassValidatorError[], parent = ''): FieldFault[] {
  return errors.flatMap((error) => {
    const field = parent === '' ? error.property : `${parent}.${error.property}`;
    const message = Object.values(error.constraints ?? {})[0];
    const own = message === undefined ? [] : [{ field, message: nameInFull(message, error.property, field) }];
    return [...own, ...faultsOf(error.children ?? [], field)];
  });
}

function nameInFull(message: string, property: string, field: string): string {
  // What Nest says of a list or a text in the place of the body.
  if (message === 'Validation failed (object is expected)') return `The request ${field} must be a JSON object`;
  return message.startsWith(`${property} `) ? `${field}${message.slice(property.length)}` : message;
}
