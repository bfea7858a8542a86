import 'reflect-metadata';
import { readFile } from 'node:fs/promises';
import { METHOD_METADATA, PATH_METADATA } from '@nestjs/common/constants.js';
import { type INestApplication, RequestMethod } from '@nestjs/common';
import { ModulesContainer, NestFactory } from '@nestjs/core';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { dialectParts } from '../../src/api-documents.js';
import { AppModule } from '../../src/app.module.js';
import type { RouteInfo } from '../../src/http/route-info.js';
import { loadConfig } from '../../src/platform/config/config.loader.js';
import { SecretBox } from '../../src/platform/crypto/secret-box.js';
import { createLogger } from '../../src/platform/logging/logger.js';

interface Operation {
  operationId?: string;
  summary?: string;
  tags?: string[];
  security?: Record<string, unknown>[];
  responses: Record<string, { content?: Record<string, { schema?: { $ref?: string } }> }>;
  requestBody?: { content: Record<string, { schema?: unknown }> };
}

interface Document {
  paths: Record<string, Record<string, Operation>>;
}

interface Route {
  /** `GET /clients/{}`: parameters by place, no slash at the end. */
  key: string;
  controller: string;
  info: RouteInfo | undefined;
  hidden: boolean;
}

const read = async (name: string): Promise<Document> =>
  JSON.parse(await readFile(new URL(`../../openapi/${name}.json`, import.meta.url), 'utf8')) as Document;

const keyOf = (method: string, path: string): string => {
  const plain = path
    .replace(/\{[^}]+\}|:\w+/g, '{}')
    .replace(/\/+/g, '/')
    .replace(/(.)\/$/, '$1');
  return `${method.toUpperCase()} ${plain}`;
};

const operationsOf = (document: Document): { key: string; operation: Operation }[] =>
  Object.entries(document.paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, operation]) => ({ key: keyOf(method, path), operation })),
  );

/** Every method of every controller that Nest makes a route of. */
function routesOf(app: INestApplication): Route[] {
  const controllers = [...app.get(ModulesContainer).values()].flatMap((module) => [...module.controllers.values()]);
  return controllers.flatMap(({ metatype }) => {
    const type = metatype as { name: string; prototype: Record<string, object> };
    const prefixes = [Reflect.getMetadata(PATH_METADATA, type) as string | string[]].flat();
    const methods = Object.getOwnPropertyNames(type.prototype).filter(
      (name) => name !== 'constructor' && Reflect.hasMetadata(METHOD_METADATA, type.prototype[name]!),
    );
    return methods.flatMap((name) => {
      const handler = type.prototype[name]!;
      const paths = [Reflect.getMetadata(PATH_METADATA, handler) as string | string[]].flat();
      const verb = RequestMethod[Reflect.getMetadata(METHOD_METADATA, handler) as number]!;
      const config = Reflect.getMetadata('__fastify_route_config__', handler) as { causeway?: RouteInfo } | undefined;
      const hidden = Reflect.hasMetadata('swagger/apiExcludeEndpoint', handler);
      return prefixes.flatMap((prefix) =>
        paths.map((path) => ({
          key: keyOf(verb, `/${prefix}/${path}`),
          controller: `${type.name}.${name}`,
          info: config?.causeway,
          hidden,
        })),
      );
    });
  });
}

describe('every route', () => {
  let app: INestApplication;
  let routes: Route[];
  let operations: { key: string; operation: Operation }[];

  beforeAll(async () => {
    app = await NestFactory.create(
      AppModule.forRoot({
        config: loadConfig({}),
        databaseUrl: 'postgres://nowhere/none',
        secretBox: new SecretBox('no secret is sealed with this key'),
        logger: createLogger('silent'),
      }),
      new FastifyAdapter(),
      { preview: true, logger: false, abortOnError: false },
    );
    routes = routesOf(app);
    operations = operationsOf(await read('all'));
  });

  afterAll(() => app.close());

  /** Names those that break the rule, so that the failure says which. */
  const breaking = (isWrong: (route: Route) => boolean): string[] =>
    routes.filter(isWrong).map(({ key, controller }) => `${key} (${controller})`);

  it('is there at all', () => {
    expect(routes.length).toBeGreaterThan(25);
  });

  it("has its dialect's decorator, and with it a guard, a limit and error answers", () => {
    expect(breaking(({ info }) => info === undefined)).toEqual([]);
    const names: (string | null)[] = dialectParts.map(({ name }) => name);
    expect(breaking(({ info }) => info?.dialect !== null && !names.includes(info?.dialect ?? 'none'))).toEqual([]);
  });

  it('asks for a role or says that it is open', () => {
    expect(breaking(({ info }) => info?.public !== true && (info?.roles.length ?? 0) === 0)).toEqual([]);
  });

  it('is counted: only health and metrics are not', () => {
    expect(
      routes
        .filter(({ info }) => info?.dialect === null)
        .map(({ key }) => key)
        .sort(),
    ).toEqual(['GET /healthz', 'GET /metrics', 'GET /readyz']);
  });

  it('is claimed once', () => {
    const keys = routes.map(({ key }) => key);
    expect(keys.filter((key, index) => keys.indexOf(key) !== index)).toEqual([]);
  });

  it('stands in the committed documents (else: npm run build && npm run openapi)', () => {
    const documented = new Set(operations.map(({ key }) => key));
    expect(breaking(({ key, hidden }) => !hidden && !documented.has(key))).toEqual([]);
    const served = new Set(routes.map(({ key }) => key));
    expect([...documented].filter((key) => !served.has(key))).toEqual([]);
  });

  it('is documented as open exactly when it is', () => {
    const byKey = new Map(routes.map((route) => [route.key, route.info]));
    const wrong = operations.filter(({ key, operation }) => {
      const info = byKey.get(key);
      if (info?.dialect === null) return false;
      const mayBeAnonymous =
        operation.security === undefined ||
        operation.security.length === 0 ||
        operation.security.some((requirement) => Object.keys(requirement).length === 0);
      return mayBeAnonymous !== info?.public;
    });
    expect(wrong.map(({ key }) => key)).toEqual([]);
  });

  it('has summary, tag and an operation id that nobody else has', () => {
    const poor = operations.filter(({ operation }) => !operation.summary || !operation.tags?.[0]);
    expect(poor.map(({ key }) => key)).toEqual([]);
    const ids = operations.map(({ operation }) => operation.operationId ?? '');
    expect(ids.filter((id) => !/^[a-z][a-zA-Z0-9]+$/.test(id))).toEqual([]);
    expect(ids.filter((id, index) => ids.indexOf(id) !== index)).toEqual([]);
  });

  it('has one success answer, with a schema unless it is 204', () => {
    const wrong = operations.filter(({ operation }) => {
      const good = Object.entries(operation.responses).filter(([status]) => /^[23]/.test(status));
      const withSchema = ([status, { content }]: (typeof good)[number]) =>
        status === '204' || Object.values(content ?? {}).some(({ schema }) => schema !== undefined);
      return good.length === 0 || !good.every(withSchema);
    });
    expect(wrong.map(({ key }) => key)).toEqual([]);
  });

  it("has its dialect's shape in every error answer", async () => {
    for (const { name } of dialectParts) {
      const refs = operationsOf(await read(name)).flatMap(({ key, operation }) =>
        Object.entries(operation.responses)
          .filter(([status]) => /^[45]/.test(status))
          .map(([status, { content }]) => ({
            where: `${key} ${status}`,
            ref: content?.['application/json']?.schema?.$ref,
          })),
      );
      const [first] = refs;
      if (first === undefined) continue;
      expect(first.ref).toMatch(/Error$/);
      expect(refs.filter(({ ref }) => ref !== first.ref).map(({ where }) => where)).toEqual([]);
    }
  });
});
