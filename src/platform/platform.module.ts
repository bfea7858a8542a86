import { type DynamicModule, Global, Module } from '@nestjs/common';
import type { Logger } from 'pino';
import { Clock } from './clock/clock.js';
import { ConfigModule } from './config/config.module.js';
import type { Config } from './config/config.js';
import { SecretBox } from './crypto/secret-box.js';
import { DATABASE_URL_TOKEN } from './database-url.js';
import { JobsService } from './jobs/jobs.service.js';
import { Notifications } from './locks/notifications.js';
import { AppLogger } from './logging/app-logger.js';

/** What exists before there is an application. */
export interface Surroundings {
  config: Config;
  /** Of the database that is in use; holds a password. */
  databaseUrl: string;
  secretBox: SecretBox;
  logger: Logger;
}

/** Configuration, time, log, secrets, jobs and notifications, for every module. */
@Global()
@Module({})
export class PlatformModule {
  static forRoot({ config, databaseUrl, secretBox, logger }: Surroundings): DynamicModule {
    return {
      module: PlatformModule,
      imports: [ConfigModule.forRoot(config)],
      providers: [
        Clock,
        JobsService,
        Notifications,
        { provide: AppLogger, useValue: new AppLogger(logger) },
        { provide: DATABASE_URL_TOKEN, useValue: databaseUrl },
        { provide: SecretBox, useValue: secretBox },
      ],
      exports: [Clock, JobsService, Notifications, AppLogger, DATABASE_URL_TOKEN, SecretBox],
    };
  }
}
