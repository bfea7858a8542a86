import { STATUS_CODES } from 'node:http';
import type { INestApplication, Type } from '@nestjs/common';
import { DocumentBuilder, type OpenAPIObject, SwaggerModule } from '@nestjs/swagger';

/** A document that is published: one for each dialect, and `all`. */
export interface ApiDocument {
  name: string;
  document: OpenAPIObject;
}

/** What is documented together: a dialect, or the server's own routes. */
export interface ApiPart {
  /** `candypanel`; starts the ids of its operations. */
  name: string;
  title: string;
  description: string;
  module: Type<unknown>;
}

const VERSION = '1.0.0';

/** The document of one part. Operation ids are the part's name and the method's: `candypanelListClients`. */
export function partDocument(app: INestApplication, part: ApiPart): OpenAPIObject {
  const config = new DocumentBuilder()
    .setTitle(part.title)
    .setDescription(part.description)
    .setVersion(VERSION)
    .addBearerAuth({ type: 'http', scheme: 'bearer', description: 'An access token, or an API token' }, 'bearer')
    .build();
  const prefix = camelCase(part.name);
  return published(
    SwaggerModule.createDocument(app, config, {
      include: [part.module],
      operationIdFactory: (_controller, method) => prefix + method[0]!.toUpperCase() + method.slice(1),
    }),
  );
}

/** All parts in one document. Throws when two of them use one route, or one schema name for different things. */
export function mergedDocument(parts: readonly ApiDocument[]): OpenAPIObject {
  const base = new DocumentBuilder()
    .setTitle('Causeway')
    .setDescription('One control plane that speaks five APIs on one port.')
    .setVersion(VERSION)
    .addBearerAuth({ type: 'http', scheme: 'bearer', description: 'An access token, or an API token' }, 'bearer')
    .build();
  const all: OpenAPIObject = { ...base, paths: {}, components: { ...base.components, schemas: {} } };
  for (const { name, document } of parts) {
    for (const [path, item] of Object.entries(document.paths)) {
      for (const method of Object.keys(item)) {
        const taken = all.paths[path] as Record<string, unknown> | undefined;
        if (taken?.[method] !== undefined) throw new Error(`Two parts document ${method.toUpperCase()} ${path}`);
      }
      all.paths[path] = { ...all.paths[path], ...item };
    }
    const schemas = all.components!.schemas!;
    for (const [key, schema] of Object.entries(document.components?.schemas ?? {})) {
      if (schemas[key] !== undefined && JSON.stringify(schemas[key]) !== JSON.stringify(schema)) {
        throw new Error(`${name} and another part have different schemas of the name ${key}: rename one class`);
      }
      schemas[key] = schema;
    }
  }
  return published(all);
}

/**
 * Stable order and no server address, so that the committed documents change only when the API does. An open route says
 * so: its list of requirements is empty instead of absent. Errors are JSON whatever the route produces otherwise.
 */
function published(document: OpenAPIObject): OpenAPIObject {
  const { components, paths, ...head } = document;
  const operations = Object.values(paths).flatMap((item) => Object.values(item) as Operation[]);
  for (const operation of operations) {
    operation.security ??= [];
    for (const [status, response] of Object.entries(operation.responses)) {
      response.description ||= STATUS_CODES[status] ?? '';
      const [media] = Object.values(response.content ?? {});
      if (/^[45]/.test(status) && media !== undefined) response.content = { 'application/json': media };
    }
  }
  return {
    ...head,
    servers: [],
    paths: sortKeys(paths),
    components: { ...components, schemas: sortKeys(components?.schemas ?? {}) },
  };
}

interface Operation {
  security?: unknown[];
  responses: Record<string, { description: string; content?: Record<string, unknown> }>;
}

function sortKeys<T>(record: Record<string, T>): Record<string, T> {
  return Object.fromEntries(Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1)));
}

function camelCase(name: string): string {
  return name.replace(/-(\w)/g, (_match, letter: string) => letter.toUpperCase());
}

/** Swagger UI at /docs (all parts) and /docs/<part>, the documents at /openapi.json and /openapi/<part>.json. */
export function serveDocuments(app: INestApplication, names: readonly string[], build: () => ApiDocument[]): void {
  let built: Map<string, OpenAPIObject> | null = null;
  // Built when somebody asks: it takes time that a start should not.
  const documentOf = (name: string) => (): OpenAPIObject => {
    built ??= new Map(build().map((entry) => [entry.name, entry.document]));
    return built.get(name)!;
  };
  for (const name of [...names, 'all']) {
    const isAll = name === 'all';
    SwaggerModule.setup(isAll ? 'docs' : `docs/${name}`, app, documentOf(name), {
      raw: ['json'],
      jsonDocumentUrl: isAll ? 'openapi.json' : `openapi/${name}.json`,
      customSiteTitle: `Causeway API: ${name}`,
      swaggerOptions: {
        persistAuthorization: true,
        docExpansion: isAll ? 'none' : 'list',
        defaultModelsExpandDepth: 0,
        tagsSorter: 'alpha',
      },
    });
  }
}
