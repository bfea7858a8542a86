import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { NestFactory } from '@nestjs/core';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { apiDocuments, dialectParts } from './api-documents.js';
import { AppModule } from './app.module.js';
import { type Database, openDatabase } from './database/database.js';
import { DatabaseStartError } from './database/database-start.error.js';
import { migrate } from './database/migrate.js';
import { EnginesService } from './domain/engines/engines.service.js';
import { SecretKeyMismatchError } from './domain/settings/installation.errors.js';
import { InstallationService } from './domain/settings/installation.service.js';
import { SetupService } from './domain/system/setup.service.js';
import { ErrorRenderer } from './http/error.renderer.js';
import { createAdapter, type EarlyErrors } from './http/fastify-options.js';
import { HttpPipeline } from './http/http.pipeline.js';
import { serveDocuments } from './http/openapi.js';
import { Readiness } from './http/readiness.js';
import type { Config } from './platform/config/config.js';
import { ConfigError, loadConfig } from './platform/config/config.loader.js';
import { SecretBox } from './platform/crypto/secret-box.js';
import { loadPreviousSecretKey, loadSecretKey, SecretKeyFileError } from './platform/crypto/secret-key.js';
import { AppLogger } from './platform/logging/app-logger.js';
import { createLogger } from './platform/logging/logger.js';
import { NestLogger } from './platform/logging/nest-logger.service.js';
import type { Surroundings } from './platform/platform.module.js';

/** How long requests that are under way may take once the server was told to stop. */
const DRAIN_LIMIT_MS = 10_000;
/** After this the process ends, whatever still hangs. */
const CLOSE_LIMIT_MS = 40_000;

/** A reason not to start that an operator can mend: its message is all there is to say. */
class StartRefused extends Error {}

const running: { database: Database | null; app: NestFastifyApplication | null } = { database: null, app: null };

try {
  await start();
} catch (error) {
  await running.app?.close().catch(() => undefined);
  await running.database?.close().catch(() => undefined);
  refuse(error);
}

async function start(): Promise<void> {
  const config = loadConfig(process.env);
  const logger = createLogger(config.logLevel);
  const log = new AppLogger(logger);
  catchStrays(log);
  let stopping = false;
  const stop = (signal: NodeJS.Signals) => {
    // A second signal means that somebody does not want to wait.
    if (stopping) process.exit(1);
    stopping = true;
    void shutDown(signal, log);
  };
  process.on('SIGTERM', stop).on('SIGINT', stop);
  const database = (running.database = await openDatabase(config, log));
  await migrate(database.url, log);
  const secretBox = new SecretBox(await loadSecretKey(config), await loadPreviousSecretKey(config));
  const app = (running.app = await createServer({ config, databaseUrl: database.url, secretBox, logger }));
  await app.get(InstallationService).open(showRecoveryPhrase);
  await listen(app, config);
  log.info('Server started', { port: config.port, host: config.host, role: config.role });
  await sayWhatRuns(config, app);
}

async function createServer(surroundings: Surroundings): Promise<NestFastifyApplication> {
  const early: EarlyErrors = { renderer: null };
  const server = await NestFactory.create<NestFastifyApplication>(
    AppModule.forRoot(surroundings),
    createAdapter(surroundings.config, early),
    { logger: new NestLogger(surroundings.logger), bodyParser: false, abortOnError: false },
  );
  early.renderer = server.get(ErrorRenderer);
  await server.get(HttpPipeline).install(server);
  if (surroundings.config.role !== 'worker') {
    serveDocuments(
      server,
      dialectParts.map((part) => part.name),
      () => apiDocuments(server),
    );
  }
  return server;
}

async function listen(server: NestFastifyApplication, config: Config): Promise<void> {
  try {
    await server.listen({ port: config.port, host: config.host });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const where = `${config.host}:${config.port}`;
    if (code === 'EADDRINUSE') throw new StartRefused(`${where} is in use by another program: stop it or set PORT`);
    if (code === 'EACCES') throw new StartRefused(`Listening on ${where} is not allowed: choose a PORT above 1023`);
    if (code === 'EADDRNOTAVAIL') throw new StartRefused(`HOST ${config.host} is no address of this machine`);
    throw error;
  }
}

/** Says no to balancers, lets requests end, then engines, jobs and database connections, then the database itself. */
async function shutDown(signal: NodeJS.Signals, log: AppLogger): Promise<void> {
  log.info('Server stops', { signal });
  setTimeout(() => {
    log.error('The stop took too long and is cut short', {});
    process.exit(1);
  }, CLOSE_LIMIT_MS).unref();
  try {
    const { app, database } = running;
    if (app !== null) {
      app.get(Readiness).stop();
      app.get(HttpPipeline).beginClosing();
      await drain(app);
      await app.close();
    }
    await database?.close();
    log.info('Server stopped', {});
    process.exit(0);
  } catch (error) {
    log.error('The stop failed', { err: error });
    process.exit(1);
  }
}

/** Takes no more connections and waits for the requests that are under way. */
function drain(server: NestFastifyApplication): Promise<void> {
  const http = server.getHttpServer();
  return new Promise((resolve) => {
    const cut = setTimeout(() => http.closeAllConnections(), DRAIN_LIMIT_MS);
    http.close(() => {
      clearTimeout(cut);
      resolve();
    });
    http.closeIdleConnections();
  });
}

/** What nobody caught is a fault of ours: the state of the process is unknown, so it ends and is started again. */
function catchStrays(log: AppLogger): void {
  const end = (kind: string) => (error: unknown) => {
    log.error('Unexpected failure, the server ends', { faultId: randomUUID(), kind, err: error });
    process.exit(1);
  };
  process.on('uncaughtException', end('exception')).on('unhandledRejection', end('rejection'));
}

/** On the terminal, once: neither log nor file ever holds it. */
function showRecoveryPhrase(phrase: string): void {
  process.stdout.write(
    `\nRecovery phrase of this installation, shown this once. Write it down: with it and a backup file everything\n` +
      `comes back on any machine.\n\n  ${phrase}\n\n`,
  );
}

/** The few lines for a person that end a start. */
async function sayWhatRuns(config: Config, app: NestFastifyApplication): Promise<void> {
  const everywhere = ['0.0.0.0', '::'].includes(config.host);
  const host = everywhere ? 'localhost' : config.host;
  const url = `http://${host.includes(':') ? `[${host}]` : host}:${config.port}`;
  // A part that is only just starting would be shown as down.
  await app.get(EnginesService).whenAllStarted();
  const { parts } = await app.get(Readiness).report();
  const named = (state: string) => parts.filter((part) => part.state === state);
  const lines = [
    `Causeway runs at ${url}: ${named('up')
      .map(({ name }) => name)
      .join(', ')}`,
  ];
  for (const { name, state, message, hint } of [...named('down'), ...named('absent')]) {
    lines.push(`  ${name} is ${state}: ${message}${hint === null ? '' : `. To mend it: ${hint}`}`);
  }
  if (config.role !== 'worker') {
    lines.push(`  Swagger UI: ${url}/docs`, ...(await nextSteps(config, url, app.get(SetupService))));
  }
  process.stdout.write(`${lines.join('\n')}\n`);
}

async function nextSteps(config: Config, url: string, setup: SetupService): Promise<string[]> {
  if (await setup.installed()) return [`  Next: POST ${url}/login for a token, then POST ${url}/clients`];
  if (!(await setup.open())) return [`  Next: POST ${url}/login as the admin, then POST ${url}/install with the token`];
  const isLoopback = /^(127\.|::1$|localhost$)/.test(config.host);
  const token = config.setupToken === null ? setup.setupToken() : 'the value of SETUP_TOKEN';
  const whose = config.setupToken === null ? 'From a public address it' : 'It';
  const needsToken = config.setupToken !== null || !isLoopback;
  return [
    `  Next: POST ${url}/install makes the first admin and wg0`,
    ...(needsToken ? [`  ${whose} needs the header X-Setup-Token: ${token}`] : []),
  ];
}

function refuse(error: unknown): never {
  const known =
    error instanceof StartRefused ||
    error instanceof ConfigError ||
    error instanceof DatabaseStartError ||
    error instanceof SecretKeyMismatchError ||
    error instanceof SecretKeyFileError;
  const text = known ? error.message : error instanceof Error ? (error.stack ?? error.message) : String(error);
  process.stderr.write(`${known ? '' : 'Causeway could not start: '}${text}\n`);
  process.exit(1);
}
