import { Global, Module } from '@nestjs/common';
import { APP_FILTER, APP_GUARD, APP_PIPE } from '@nestjs/core';
import { PassportModule } from '@nestjs/passport';
import { AuthModule } from '../domain/auth/auth.module.js';
import { UsersModule } from '../domain/users/users.module.js';
import { Config } from '../platform/config/config.js';
import { AppLogger } from '../platform/logging/app-logger.js';
import { AccessLog } from './access-log.js';
import { AllowedMethods } from './allowed-methods.js';
import { AuthGuard } from './auth.guard.js';
import { DialectRegistry } from './dialect.registry.js';
import { ErrorFilter } from './error.filter.js';
import { ErrorRenderer } from './error.renderer.js';
import { routerOptions } from './fastify-options.js';
import { HealthController } from './health.controller.js';
import { HttpMetrics } from './http.metrics.js';
import { HttpPipeline } from './http.pipeline.js';
import { JwtStrategy } from './jwt.strategy.js';
import { CallerKeys } from './limits/caller-keys.js';
import { FixedWindowStorage } from './limits/fixed-window.storage.js';
import { LIMIT_STORAGE, RateLimits } from './limits/rate-limits.js';
import { RedisStorage } from './limits/redis.storage.js';
import { MetricsController } from './metrics.controller.js';
import { Readiness } from './readiness.js';
import { requestValidation } from './validation/request-validation.pipe.js';

/** What all dialects share. Global: a dialect needs its registry and nothing else of it by injection. */
@Global()
@Module({
  imports: [PassportModule, AuthModule, UsersModule],
  controllers: [HealthController, MetricsController],
  providers: [
    AccessLog,
    CallerKeys,
    DialectRegistry,
    ErrorRenderer,
    HttpMetrics,
    HttpPipeline,
    JwtStrategy,
    RateLimits,
    Readiness,
    { provide: AllowedMethods, useFactory: () => new AllowedMethods(routerOptions) },
    {
      provide: LIMIT_STORAGE,
      inject: [Config, AppLogger],
      useFactory: (config: Config, log: AppLogger) =>
        config.redisUrl === null
          ? new FixedWindowStorage()
          : new RedisStorage(config.redisUrl, (message) => log.warn(message)),
    },
    { provide: APP_FILTER, useClass: ErrorFilter },
    { provide: APP_GUARD, useClass: AuthGuard },
    { provide: APP_PIPE, useFactory: requestValidation },
  ],
  exports: [DialectRegistry, Readiness],
})
export class HttpModule {}
