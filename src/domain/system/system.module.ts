import { Module } from '@nestjs/common';
import { BackupsModule } from '../backups/backups.module.js';
import { ClientsModule } from '../clients/clients.module.js';
import { EnginesModule } from '../engines/engines.module.js';
import { EventsModule } from '../events/events.module.js';
import { InterfacesModule } from '../interfaces/interfaces.module.js';
import { SettingsModule } from '../settings/settings.module.js';
import { UsageModule } from '../usage/usage.module.js';
import { UsersModule } from '../users/users.module.js';
import { XrayModule } from '../xray/xray.module.js';
import { DashboardService } from './dashboard.service.js';
import { HostSampler } from './host-sampler.service.js';
import { InstallationChecks } from './installation.checks.js';
import { PortsService } from './ports.service.js';
import { SelfChecksService } from './self-checks.service.js';
import { ServicesService } from './services.service.js';
import { SetupService } from './setup.service.js';

@Module({
  imports: [
    BackupsModule,
    ClientsModule,
    EnginesModule,
    EventsModule,
    InterfacesModule,
    SettingsModule,
    UsageModule,
    UsersModule,
    XrayModule,
  ],
  providers: [
    HostSampler,
    DashboardService,
    InstallationChecks,
    PortsService,
    SelfChecksService,
    ServicesService,
    SetupService,
  ],
  exports: [HostSampler, DashboardService, PortsService, SelfChecksService, ServicesService, SetupService],
})
export class SystemModule {}
