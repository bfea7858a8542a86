import { Module } from '@nestjs/common';
import { JwtModule } from '@nestjs/jwt';
import { TypeOrmModule } from '@nestjs/typeorm';
import { Clock } from '../../platform/clock/clock.js';
import { Config } from '../../platform/config/config.js';
import { SecretBox } from '../../platform/crypto/secret-box.js';
import { AppLogger } from '../../platform/logging/app-logger.js';
import { EventsModule } from '../events/events.module.js';
import { SettingsModule } from '../settings/settings.module.js';
import { UsersModule } from '../users/users.module.js';
import { ApiToken } from './api-token.entity.js';
import { ApiTokensService } from './api-tokens.service.js';
import { AuthService } from './auth.service.js';
import { LoginAttemptsStore, MemoryLoginAttempts, RedisLoginAttempts } from './login-attempts.store.js';
import { LoginBackoff } from './login-backoff.js';
import { RevokedSession } from './revoked-session.entity.js';
import { tokenKey } from './token-key.js';
import { TokensService } from './tokens.service.js';

@Module({
  imports: [
    TypeOrmModule.forFeature([ApiToken, RevokedSession]),
    JwtModule.registerAsync({
      inject: [SecretBox],
      useFactory: (secretBox: SecretBox) => {
        const key = tokenKey(secretBox);
        return { secretOrKeyProvider: () => key };
      },
    }),
    EventsModule,
    SettingsModule,
    UsersModule,
  ],
  providers: [
    {
      provide: LoginAttemptsStore,
      inject: [Config, Clock, AppLogger],
      useFactory: async (config: Config, clock: Clock, log: AppLogger): Promise<LoginAttemptsStore> => {
        if (config.redisUrl === null) return new MemoryLoginAttempts(clock);
        const store = new RedisLoginAttempts(config.redisUrl, clock, (message) => log.warn(message));
        await store.connect();
        return store;
      },
    },
    LoginBackoff,
    TokensService,
    ApiTokensService,
    AuthService,
  ],
  exports: [AuthService, TokensService, ApiTokensService],
})
export class AuthModule {}
