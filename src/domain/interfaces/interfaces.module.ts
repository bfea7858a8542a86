import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { EnginesModule } from '../engines/engines.module.js';
import { EventsModule } from '../events/events.module.js';
import { FreeAddress } from './free-address.entity.js';
import { InterfacesService } from './interfaces.service.js';
import { WireguardInterface } from './wireguard-interface.entity.js';

@Module({
  imports: [TypeOrmModule.forFeature([WireguardInterface, FreeAddress]), EnginesModule, EventsModule],
  providers: [InterfacesService],
  exports: [InterfacesService],
})
export class InterfacesModule {}
