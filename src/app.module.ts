import { type DynamicModule, Module, type OnModuleInit } from '@nestjs/common';
import { ScheduleModule } from '@nestjs/schedule';
import { InjectDataSource, TypeOrmModule } from '@nestjs/typeorm';
import { DataSource } from 'typeorm';
import { dialectParts } from './api-documents.js';
import { dataSourceOptions } from './database/data-source.js';
import { candypanel } from './dialects/candypanel/candypanel.errors.js';
import { BackupsModule } from './domain/backups/backups.module.js';
import { EnginesModule } from './domain/engines/engines.module.js';
import { EnginesService } from './domain/engines/engines.service.js';
import { XrayModule } from './domain/xray/xray.module.js';
import { DriversModule } from './drivers/drivers.module.js';
import { SystemModule } from './domain/system/system.module.js';
import { TunnelsModule } from './domain/tunnels/tunnels.module.js';
import { DialectRegistry } from './http/dialect.registry.js';
import { HttpModule } from './http/http.module.js';
import { Readiness } from './http/readiness.js';
import { formatUtc } from './platform/clock/clock.js';
import { Config } from './platform/config/config.js';
import { PlatformModule, type Surroundings } from './platform/platform.module.js';

@Module({})
export class AppModule implements OnModuleInit {
  static forRoot(surroundings: Surroundings): DynamicModule {
    const { config, databaseUrl } = surroundings;
    return {
      module: AppModule,
      imports: [
        PlatformModule.forRoot(surroundings),
        TypeOrmModule.forRootAsync({
          useFactory: () => ({ ...dataSourceOptions(databaseUrl), retryAttempts: 0 }),
        }),
        ScheduleModule.forRoot(),
        DriversModule,
        EnginesModule,
        TunnelsModule,
        XrayModule,
        BackupsModule,
        SystemModule,
        HttpModule,
        // A worker speaks to nobody but those who watch it.
        ...(config.role === 'worker' ? [] : dialectParts.map((part) => part.module)),
      ],
    };
  }

  constructor(
    private readonly readiness: Readiness,
    private readonly engines: EnginesService,
    private readonly config: Config,
    private readonly dialects: DialectRegistry,
    @InjectDataSource() private readonly dataSource: DataSource,
  ) {}

  onModuleInit(): void {
    // A worker has no routes to speak of, but says so in some shape.
    if (this.config.role === 'worker') this.dialects.register(candypanel);
    this.readiness.add('database', async () => {
      await this.dataSource.query('SELECT 1');
      const pending = await this.dataSource.showMigrations();
      return [
        { name: 'database', state: 'up', message: 'PostgreSQL answers', hint: null, seen_at: null },
        {
          name: 'migrations',
          state: pending ? 'down' : 'up',
          message: pending ? 'Migrations are missing' : 'The schema is up to date',
          hint: pending ? 'Restart the server: it migrates at start' : null,
          seen_at: null,
        },
      ];
    });
    this.readiness.add('engines', async () =>
      (await this.engines.status()).map((engine) => ({
        name: engine.id,
        state: engine.state,
        message: engine.message,
        hint: engine.hint,
        seen_at: formatUtc(engine.seenAt),
      })),
    );
  }
}
