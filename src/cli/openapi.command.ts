import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { apiDocuments } from '../api-documents.js';
import { AppModule } from '../app.module.js';
import { loadConfig } from '../platform/config/config.loader.js';
import { SecretBox } from '../platform/crypto/secret-box.js';
import { createLogger } from '../platform/logging/logger.js';

const folder = join(dirname(fileURLToPath(import.meta.url)), '../../openapi');

/**
 * Writes openapi/<dialect>.json and openapi/all.json, or with `check` compares them with what the code says now. Builds
 * the module graph only: no provider is made, so neither database nor engine is needed. Returns the exit code.
 */
export async function openapi({ check }: { check: boolean }): Promise<number> {
  const app = await NestFactory.create(
    AppModule.forRoot({
      config: loadConfig({}),
      databaseUrl: 'postgres://nowhere/none',
      secretBox: new SecretBox('no secret is sealed with this key'),
      logger: createLogger('silent'),
    }),
    new FastifyAdapter(),
    { preview: true, logger: false, abortOnError: false },
  );
  const stale: string[] = [];
  await mkdir(folder, { recursive: true });
  for (const { name, document } of apiDocuments(app)) {
    const file = join(folder, `${name}.json`);
    const text = `${JSON.stringify(document, null, 2)}\n`;
    if (!check) await writeFile(file, text);
    else if ((await readFile(file, 'utf8').catch(() => '')) !== text) stale.push(`openapi/${name}.json`);
  }
  if (stale.length === 0) return 0;
  process.stderr.write(`Not what the code says: ${stale.join(', ')}. Run: npm run build && npm run openapi\n`);
  return 1;
}
