import { JwtService } from '@nestjs/jwt';
import { DataSource } from 'typeorm';
import { dataSourceOptions } from '../../src/database/data-source.js';
import { ApiTokensService } from '../../src/domain/auth/api-tokens.service.js';
import { AuthService } from '../../src/domain/auth/auth.service.js';
import { MemoryLoginAttempts } from '../../src/domain/auth/login-attempts.store.js';
import { LoginBackoff } from '../../src/domain/auth/login-backoff.js';
import { TokensService } from '../../src/domain/auth/tokens.service.js';
import { EventsService } from '../../src/domain/events/events.service.js';
import { AlertsService } from '../../src/domain/settings/alerts.service.js';
import { SettingsService } from '../../src/domain/settings/settings.service.js';
import { TotpService } from '../../src/domain/users/totp.service.js';
import { UsersService } from '../../src/domain/users/users.service.js';
import { loadConfig } from '../../src/platform/config/config.loader.js';
import { SecretBox } from '../../src/platform/crypto/secret-box.js';
import { Notifications } from '../../src/platform/locks/notifications.js';
import type { AppLogger } from '../../src/platform/logging/app-logger.js';
import { silentLog } from './silent-log.js';
import { TestClock } from './test-clock.js';

export const testSecretKey = 'a secret key of thirty-two characters or more';

/** The services of events, settings, users and auth as one process has them. */
export interface AccountsProcess {
  clock: TestClock;
  source: DataSource;
  secretBox: SecretBox;
  notifications: Notifications;
  events: EventsService;
  alerts: AlertsService;
  settings: SettingsService;
  users: UsersService;
  totp: TotpService;
  tokens: TokensService;
  apiTokens: ApiTokensService;
  auth: AuthService;
  close(): Promise<void>;
}

export interface AccountsOptions {
  env?: Record<string, string>;
  clock?: TestClock;
  secretBox?: SecretBox;
  log?: AppLogger;
}

/** Wires them by hand on a migrated database; its time stands still until `clock` is moved. */
export async function startAccounts(databaseUrl: string, options: AccountsOptions = {}): Promise<AccountsProcess> {
  const clock = options.clock ?? new TestClock(Date.now());
  const log = options.log ?? silentLog();
  const secretBox = options.secretBox ?? new SecretBox(testSecretKey);
  const config = loadConfig(options.env ?? {});
  const source = await new DataSource(dataSourceOptions(databaseUrl, { poolSize: 5 })).initialize();
  const notifications = new Notifications(databaseUrl, log);
  await notifications.start();

  const events = new EventsService(source, clock, log);
  const alerts = new AlertsService(log);
  const settings = new SettingsService(source, config, secretBox, notifications, events, alerts, log, clock);
  const users = new UsersService(source, config, settings, alerts, events, notifications);
  const totp = new TotpService(source, users, events, secretBox, clock);
  const jwt = new JwtService({ secret: secretBox.deriveKey('jwt') });
  const tokens = new TokensService(source, jwt, users, events, notifications, clock);
  const apiTokens = new ApiTokensService(source, secretBox, settings, events, notifications, clock);
  const backoff = new LoginBackoff(new MemoryLoginAttempts(clock), clock);
  const auth = new AuthService(users, totp, tokens, apiTokens, backoff, settings, events, log);
  for (const service of [settings, users, tokens, apiTokens]) service.onModuleInit();
  await apiTokens.onApplicationBootstrap();
  await notifications.whenListening();

  const close = async (): Promise<void> => {
    backoff.onApplicationShutdown();
    await notifications.stop();
    await source.destroy();
  };
  return {
    clock,
    source,
    secretBox,
    notifications,
    events,
    alerts,
    settings,
    users,
    totp,
    tokens,
    apiTokens,
    auth,
    close,
  };
}
