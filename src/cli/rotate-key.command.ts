import { randomBytes } from 'node:crypto';
import { Module, type DynamicModule } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { TypeOrmModule } from '@nestjs/typeorm';
import { Client } from 'pg';
import { dataSourceOptions } from '../database/data-source.js';
import { openDatabase } from '../database/database.js';
import { migrate } from '../database/migrate.js';
import { AuthModule } from '../domain/auth/auth.module.js';
import { SettingsModule } from '../domain/settings/settings.module.js';
import { InstallationService } from '../domain/settings/installation.service.js';
import { KeyRotationService } from '../domain/system/key-rotation.service.js';
import { loadConfig } from '../platform/config/config.loader.js';
import { SecretBox } from '../platform/crypto/secret-box.js';
import {
  dropPreviousSecretKey,
  loadPreviousSecretKey,
  loadSecretKey,
  replaceSecretKey,
} from '../platform/crypto/secret-key.js';
import { AppLogger } from '../platform/logging/app-logger.js';
import { createLogger } from '../platform/logging/logger.js';
import { NestLogger } from '../platform/logging/nest-logger.service.js';
import { PlatformModule, type Surroundings } from '../platform/platform.module.js';

@Module({})
class KeyRotationModule {
  static forRoot(surroundings: Surroundings): DynamicModule {
    return {
      module: KeyRotationModule,
      imports: [
        PlatformModule.forRoot(surroundings),
        TypeOrmModule.forRootAsync({
          useFactory: () => ({
            ...dataSourceOptions(surroundings.databaseUrl, { applicationName: 'causeway-cli', statementTimeoutMs: 0 }),
            retryAttempts: 0,
          }),
        }),
        AuthModule,
        SettingsModule,
      ],
      providers: [KeyRotationService],
    };
  }
}

/**
 * Seals all secrets in the database with another key. Where the key is `DATA_DIR/secret.key` a new one is made; where it
 * is SECRET_KEY, that is the new one and SECRET_KEY_PREVIOUS the old one. All sessions end. Returns the exit code.
 */
export async function rotateKey(env: Record<string, string | undefined>): Promise<number> {
  const config = loadConfig(env);
  const logger = createLogger('warn');
  const log = new AppLogger(logger);
  const database = await openDatabase(config, log, { exclusive: false });
  try {
    if (await serverRuns(database.url)) {
      process.stderr.write('A server uses this database: stop it first.\n');
      return 1;
    }
    await migrate(database.url, log);
    const ownFile = config.secretKey === null;
    // One that was cut short left the previous key behind: then it is finished with the keys it had.
    if (ownFile && (await loadPreviousSecretKey(config)) === null) {
      await loadSecretKey(config);
      await replaceSecretKey(config, randomBytes(32).toString('hex'));
    }
    const previous = await loadPreviousSecretKey(config);
    if (previous === null) {
      process.stderr.write('Set SECRET_KEY to the new key and SECRET_KEY_PREVIOUS to the one in use until now.\n');
      return 2;
    }
    const secretBox = new SecretBox(await loadSecretKey(config), previous);
    const surroundings = { config, databaseUrl: database.url, secretBox, logger };
    const app = await NestFactory.createApplicationContext(KeyRotationModule.forRoot(surroundings), {
      logger: new NestLogger(logger),
      abortOnError: false,
    });
    try {
      await app.get(InstallationService).open(() => undefined);
      const sealed = await app.get(KeyRotationService).rotate();
      if (ownFile) await dropPreviousSecretKey(config);
      process.stdout.write(`Sealed ${sealed} values with the new key. Everyone has to log in again.\n`);
      if (!ownFile) process.stdout.write('Take SECRET_KEY_PREVIOUS out of the environment now.\n');
      return 0;
    } finally {
      await app.close();
    }
  } finally {
    await database.close();
  }
}

async function serverRuns(connectionString: string): Promise<boolean> {
  const client = new Client({ connectionString, application_name: 'causeway-cli' });
  await client.connect();
  try {
    const { rowCount } = await client.query(
      `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'causeway' LIMIT 1`,
    );
    return (rowCount ?? 0) > 0;
  } finally {
    await client.end();
  }
}
