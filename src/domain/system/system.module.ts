import { Module } from '@nestjs/common';
import { ClientsModule } from '../clients/clients.module.js';
import { EnginesModule } from '../engines/engines.module.js';
import { EventsModule } from '../events/events.module.js';
import { InterfacesModule } from '../interfaces/interfaces.module.js';
import { SettingsModule } from '../settings/settings.module.js';
import { UsageModule } from '../usage/usage.module.js';
import { UsersModule } from '../users/users.module.js';
import { DashboardService } from './dashboard.service.js';
import { HostSampler } from './host-sampler.service.js';
import { SetupService } from './setup.service.js';

@Module({
  imports: [ClientsModule, EnginesModule, EventsModule, InterfacesModule, SettingsModule, UsageModule, UsersModule],
  providers: [HostSampler, DashboardService, SetupService],
  exports: [HostSampler, DashboardService, SetupService],
})
export class SystemModule {}
