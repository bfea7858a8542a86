import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { EventsModule } from '../events/events.module.js';
import { AlertsService } from './alerts.service.js';
import { Installation } from './installation.entity.js';
import { InstallationService } from './installation.service.js';
import { Setting } from './setting.entity.js';
import { SettingsService } from './settings.service.js';

@Module({
  imports: [TypeOrmModule.forFeature([Setting, Installation]), EventsModule],
  providers: [SettingsService, AlertsService, InstallationService],
  exports: [SettingsService, AlertsService, InstallationService],
})
export class SettingsModule {}
