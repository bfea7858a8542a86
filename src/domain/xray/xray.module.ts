import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { EnginesModule } from '../engines/engines.module.js';
import { EventsModule } from '../events/events.module.js';
import { SettingsModule } from '../settings/settings.module.js';
import { UsageModule } from '../usage/usage.module.js';
import { TrafficBooks } from './traffic.books.js';
import { XrayCollectorService } from './xray-collector.service.js';
import { XrayEngineService } from './xray-engine.service.js';
import { XrayInbound } from './xray-inbound.entity.js';
import { XrayInboundsService } from './xray-inbounds.service.js';
import { XrayLiveService } from './xray-live.service.js';
import { XrayRowsService } from './xray-rows.service.js';
import { XraySettings } from './xray-settings.entity.js';
import { XraySettingsService } from './xray-settings.service.js';
import { XraySyncService } from './xray-sync.service.js';
import { XrayUsageService } from './xray-usage.service.js';
import { XrayUser } from './xray-user.entity.js';
import { XrayUsersService } from './xray-users.service.js';
import { XrayEngine } from './xray.engine.js';

@Module({
  imports: [
    TypeOrmModule.forFeature([XrayInbound, XraySettings, XrayUser]),
    EnginesModule,
    EventsModule,
    SettingsModule,
    UsageModule,
  ],
  providers: [
    TrafficBooks,
    XrayCollectorService,
    XrayEngine,
    XrayEngineService,
    XrayInboundsService,
    XrayLiveService,
    XrayRowsService,
    XraySettingsService,
    XraySyncService,
    XrayUsageService,
    XrayUsersService,
  ],
  exports: [
    XrayCollectorService,
    XrayEngineService,
    XrayInboundsService,
    XrayLiveService,
    XraySettingsService,
    XrayUsageService,
    XrayUsersService,
  ],
})
export class XrayModule {}
