import { Module } from '@nestjs/common';
import { BackupsModule } from '../../domain/backups/backups.module.js';
import { EventsModule } from '../../domain/events/events.module.js';
import { SystemModule } from '../../domain/system/system.module.js';
import { XrayModule } from '../../domain/xray/xray.module.js';
import { DialectRegistry } from '../../http/dialect.registry.js';
import { ApiV2Controller } from './api-v2.controller.js';
import { BackupsController } from './backups.controller.js';
import { CollectorController } from './collector.controller.js';
import { EventsController } from './events.controller.js';
import { LiveController } from './live.controller.js';
import { PingController } from './ping.controller.js';
import { SettingsController } from './settings.controller.js';
import { SystemController } from './system.controller.js';
import { TestsController } from './tests.controller.js';
import { UsageController } from './usage.controller.js';
import { UsersController } from './users.controller.js';
import { xrayDashboard } from './xray-dashboard.errors.js';
import { XrayController } from './xray.controller.js';

@Module({
  imports: [BackupsModule, EventsModule, SystemModule, XrayModule],
  controllers: [
    PingController,
    UsageController,
    UsersController,
    LiveController,
    EventsController,
    SystemController,
    SettingsController,
    XrayController,
    CollectorController,
    BackupsController,
    TestsController,
    ApiV2Controller,
  ],
})
export class XrayDashboardModule {
  constructor(dialects: DialectRegistry) {
    dialects.register(xrayDashboard);
  }
}
