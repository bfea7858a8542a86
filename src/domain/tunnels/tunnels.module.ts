import { Module } from '@nestjs/common';
import { EnginesModule } from '../engines/engines.module.js';
import { EventsModule } from '../events/events.module.js';
import { SettingsModule } from '../settings/settings.module.js';
import { UsageModule } from '../usage/usage.module.js';
import { PacketRulesService } from './packet-rules.service.js';
import { SyncService } from './sync.service.js';
import { TunnelRowsService } from './tunnel-rows.service.js';
import { WireguardEngine } from './wireguard.engine.js';

@Module({
  imports: [EnginesModule, EventsModule, SettingsModule, UsageModule],
  providers: [PacketRulesService, SyncService, TunnelRowsService, WireguardEngine],
  exports: [SyncService],
})
export class TunnelsModule {}
