import { Module } from '@nestjs/common';
import { AuthModule } from '../auth/auth.module.js';
import { EnginesModule } from '../engines/engines.module.js';
import { EventsModule } from '../events/events.module.js';
import { SettingsModule } from '../settings/settings.module.js';
import { TunnelsModule } from '../tunnels/tunnels.module.js';
import { UsageModule } from '../usage/usage.module.js';
import { UsersModule } from '../users/users.module.js';
import { XrayModule } from '../xray/xray.module.js';
import { AutoBackupService } from './auto-backup.service.js';
import { BackupsService } from './backups.service.js';
import { RestoreService } from './restore.service.js';

@Module({
  imports: [
    AuthModule,
    EnginesModule,
    EventsModule,
    SettingsModule,
    TunnelsModule,
    UsageModule,
    UsersModule,
    XrayModule,
  ],
  providers: [BackupsService, RestoreService, AutoBackupService],
  exports: [BackupsService],
})
export class BackupsModule {}
