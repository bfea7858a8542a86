import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { AuditEvent } from './event.entity.js';
import { EventsService } from './events.service.js';

@Module({
  imports: [TypeOrmModule.forFeature([AuditEvent])],
  providers: [EventsService],
  exports: [EventsService],
})
export class EventsModule {}
