import { applyDecorators, Controller, type Type } from '@nestjs/common';
import { METHOD_METADATA, PATH_METADATA } from '@nestjs/common/constants.js';
import { RouteConfig } from '@nestjs/platform-fastify';
import { ApiBearerAuth, ApiResponse, ApiSecurity, ApiTags } from '@nestjs/swagger';
import type { Role } from '../domain/users/user.entity.js';
import type { Dialect } from './dialect.js';
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
    ApiResponse({ status, type: options.error, description: descriptions[status] ?? 'Error' })(
      prototype,
      key,
      descriptor,
    );
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

const descriptions: Readonly<Record<number, string>> = {
  400: 'Bad input',
  401: 'No token, or one that is wrong or over',
  403: 'The role may not do this',
  404: 'There is no such thing',
  409: 'It conflicts with what is there',
  429: 'Too many requests',
  500: 'A fault of this server; the text carries the request id',
  503: 'The engine or the database does not answer',
};
