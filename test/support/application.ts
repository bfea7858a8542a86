import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { INestApplicationContext } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { AppModule } from '../../src/app.module.js';
import { InstallationService } from '../../src/domain/settings/installation.service.js';
import { Clock } from '../../src/platform/clock/clock.js';
import { loadConfig } from '../../src/platform/config/config.loader.js';
import { SecretBox } from '../../src/platform/crypto/secret-box.js';
import { Notifications } from '../../src/platform/locks/notifications.js';
import { createLogger } from '../../src/platform/logging/logger.js';
import { runFact } from './run.js';

export interface ApplicationOptions {
  secretKey: string;
  previousKey?: string;
  /** One is made, and removed by `close`, when absent. */
  dataDir?: string;
  env?: Record<string, string>;
}

/** The whole product in this process, without HTTP. */
export interface Application extends Pick<INestApplicationContext, 'get'> {
  dataDir: string;
  /** The recovery phrase, when this was the first start on its database. */
  phrase: string;
  /** From now on its clock says this; null: the real time. */
  setTime(now: Date | null): void;
  close(): Promise<void>;
}

/** Starts it on a migrated database. Polls of engines are an hour apart, and WireGuard is off, unless `env` says else. */
export async function startApplication(databaseUrl: string, options: ApplicationOptions): Promise<Application> {
  const dataDir = options.dataDir ?? (await mkdtemp(join(runFact('CAUSEWAY_TEST_FOLDER'), 'data-')));
  const lines: string[] = [];
  const context = await NestFactory.createApplicationContext(
    AppModule.forRoot({
      config: loadConfig({ DATA_DIR: dataDir, WIREGUARD: 'off', SYNC_INTERVAL: '3600', ...options.env }),
      databaseUrl,
      secretBox: new SecretBox(options.secretKey, options.previousKey ?? null),
      logger: createLogger('warn', { write: (line: string) => void lines.push(line) }),
    }),
    { logger: false, abortOnError: false },
  );
  let phrase = '';
  await context.get(InstallationService).open((words) => void (phrase = words));
  await context.get(Notifications).whenListening();
  const clock = context.get(Clock);
  const real = new Clock();
  return {
    dataDir,
    phrase,
    get: context.get.bind(context),
    setTime: (now) => {
      clock.now = () => (now === null ? real.now() : new Date(now));
      clock.nowMs = () => (now === null ? real.nowMs() : now.getTime());
    },
    close: async () => {
      await context.close();
      if (options.dataDir === undefined) await rm(dataDir, { recursive: true, force: true });
    },
  };
}
