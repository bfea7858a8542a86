import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { EnginesModule } from '../engines/engines.module.js';
import { EventsModule } from '../events/events.module.js';
import { InterfacesModule } from '../interfaces/interfaces.module.js';
import { SettingsModule } from '../settings/settings.module.js';
import { Client } from './client.entity.js';
import { ClientsService } from './clients.service.js';

@Module({
  imports: [TypeOrmModule.forFeature([Client]), EnginesModule, EventsModule, InterfacesModule, SettingsModule],
  providers: [ClientsService],
  exports: [ClientsService],
})
export class ClientsModule {}
