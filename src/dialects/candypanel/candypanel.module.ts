import { Module } from '@nestjs/common';
import { AuthModule } from '../../domain/auth/auth.module.js';
import { ClientsModule } from '../../domain/clients/clients.module.js';
import { InterfacesModule } from '../../domain/interfaces/interfaces.module.js';
import { SettingsModule } from '../../domain/settings/settings.module.js';
import { SystemModule } from '../../domain/system/system.module.js';
import { TunnelsModule } from '../../domain/tunnels/tunnels.module.js';
import { DialectRegistry } from '../../http/dialect.registry.js';
import { ApiTokensController } from './api-tokens.controller.js';
import { candypanel } from './candypanel.errors.js';
import { ClientsController } from './clients.controller.js';
import { DashboardController } from './dashboard.controller.js';
import { InstallController } from './install.controller.js';
import { InterfacesController } from './interfaces.controller.js';
import { SessionsController } from './sessions.controller.js';
import { SettingsController } from './settings.controller.js';
import { SyncController } from './sync.controller.js';

@Module({
  imports: [AuthModule, ClientsModule, InterfacesModule, SettingsModule, SystemModule, TunnelsModule],
  controllers: [
    SessionsController,
    InstallController,
    DashboardController,
    SyncController,
    ClientsController,
    InterfacesController,
    SettingsController,
    ApiTokensController,
  ],
})
export class CandyPanelModule {
  constructor(dialects: DialectRegistry) {
    dialects.register(candypanel);
  }
}
