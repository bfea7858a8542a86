import { applyDecorators, Controller, type Type } from '@nestjs/common';
import { METHOD_METADATA, PATH_METADATA } from '@nestjs/common/constants.js';
import { RouteConfig } from '@nestjs/platform-fastify';
import { ApiBearerAuth, ApiResponse, ApiSecurity, ApiTags } from '@nestjs/swagger';
import type { Role } from '../domain/users/user.entity.js';
import type { Dialect, ErrorView } from './dialect.js';
import { answersKey, limitScopeKey, publicKey, rolesKey, scopesKey, type LimitScope } from './route.decorators.js';
import type { RouteInfo } from './route-info.js';

export interface DialectControllerOptions {
  dialect: Dialect;
  /** Path below the origin, without a slash at either end. */
  path: string;
  /** Heading in Swagger UI. */
  tag: string;
  /** Schema of every error answer. */
  error: Type<unknown>;
  /** Who may call a route that does not say; admins unless told. */
  roles?: readonly Role[];
}

/**
 * The one decorator of a dialect's controllers: prefix, roles, limits, Swagger tag, security scheme and error answers.
 * It reads the methods' own decorators, so the hooks, the guard, the filter and the document agree on each route.
 */
export function DialectController(options: DialectControllerOptions): ClassDecorator {
  return (target) => {
    for (const method of routeMethods(target.prototype as object)) {
      describe(target.prototype as object, method, options);
    }
    applyDecorators(Controller(options.path), ApiTags(options.tag))(target);
  };
}

/** For health and metrics, which belong to no dialect: open, without limits, told apart in Swagger UI. */
export function ServerController(): ClassDecorator {
  return (target) => {
    const info: RouteInfo = {
      dialect: null,
      public: true,
      identify: false,
      roles: [],
      scopes: [],
      answers: {},
      limit: null,
    };
    for (const { descriptor } of routeMethods(target.prototype as object)) {
      RouteConfig({ causeway: info })(descriptor.value as () => unknown);
    }
    applyDecorators(Controller(), ApiTags('Server'))(target);
  };
}

interface RouteMethod {
  key: string;
  descriptor: PropertyDescriptor;
}

function routeMethods(prototype: object): RouteMethod[] {
  return Object.entries(Object.getOwnPropertyDescriptors(prototype))
    .filter(([, { value }]) => typeof value === 'function' && Reflect.hasMetadata(METHOD_METADATA, value as object))
    .map(([key, descriptor]) => ({ key, descriptor }));
}

function describe(prototype: object, { key, descriptor }: RouteMethod, options: DialectControllerOptions): void {
  const handler = descriptor.value as object;
  const read = <T>(name: string) => Reflect.getMetadata(name, handler) as T | undefined;
  const open = read<{ identify: boolean }>(publicKey);
  const answers = read<Record<string, number>>(answersKey) ?? {};
  const limit = read<number>('THROTTLER:LIMITdefault');
  const info: RouteInfo = {
    dialect: options.dialect.name,
    public: open !== undefined,
    identify: open?.identify ?? false,
    roles: read<Role[]>(rolesKey) ?? options.roles ?? ['admin'],
    scopes: read<RouteInfo['scopes']>(scopesKey) ?? [],
    answers,
    limit: limit === undefined ? null : { perMinute: limit, scope: read<LimitScope>(limitScopeKey) ?? 'caller' },
  };
  RouteConfig({ causeway: info })(prototype, key, descriptor);
  const path = [options.path, read<string | string[]>(PATH_METADATA) ?? ''].flat().join('/');
  for (const status of errorStatuses(options.dialect, info, path)) {
    const { description, example } = describeError(options.dialect, status);
    ApiResponse({ status, type: options.error, description, example })(prototype, key, descriptor);
  }
  if (open === undefined || open.identify) ApiBearerAuth()(prototype, key, descriptor);
  // An empty requirement beside it: the token may be left out.
  if (open?.identify === true) ApiSecurity({})(prototype, key, descriptor);
}

function errorStatuses(dialect: Dialect, info: RouteInfo, path: string): Set<number> {
  const statuses = new Set([400, 429, 500, 503]);
  if (!info.public) for (const status of [401, 403]) statuses.add(status);
  const overridden = Object.keys(info.answers).some((code) => code.endsWith('_not_found'));
  if (path.includes(':') && !overridden) statuses.add(dialect.status.not_found);
  for (const status of Object.values(info.answers)) statuses.add(status);
  return statuses;
}

/** What a status means, and the body that the dialect says it with. */
function describeError(dialect: Dialect, status: number): { description: string; example: unknown } {
  const { description, ...error } = errors[status] ?? errors[400]!;
  const view: ErrorView = { status, data: {}, requestId: '', fields: [], ...error };
  view.message = dialect.texts?.[view.code]?.(view) ?? view.message;
  return { description, example: dialect.body(view) };
}

type DescribedError = Pick<ErrorView, 'kind' | 'code' | 'message'> & Partial<ErrorView> & { description: string };

const errors: Readonly<Record<number, DescribedError>> = {
  400: { description: 'Bad input', kind: 'invalid', code: 'invalid', message: 'What is wrong with the request.' },
  401: {
    description: 'No token, or one that is wrong or over',
    kind: 'unauthenticated',
    code: 'token_missing',
    message: 'Not authenticated',
  },
  403: {
    description: 'The role may not do this',
    kind: 'forbidden',
    code: 'forbidden',
    message: 'Only admins may do this',
  },
  404: { description: 'There is no such thing', kind: 'not_found', code: 'not_found', message: 'What was not found.' },
  409: {
    description: 'It conflicts with what is there',
    kind: 'conflict',
    code: 'conflict',
    message: 'What is in the way.',
  },
  429: {
    description: 'Too many requests',
    kind: 'limited',
    code: 'rate_limited',
    message: 'Too many requests',
    data: { retryAfterSeconds: 42 },
  },
  500: {
    description: 'A fault of this server; the text carries the request id',
    kind: 'internal',
    code: 'internal',
    message: 'Internal server error, request 0b6f2c9d',
  },
  503: {
    description: 'The engine or the database does not answer',
    kind: 'unavailable',
    code: 'engine_unavailable',
    message: 'What is down, and how to mend it.',
  },
};
