import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { EventsModule } from '../events/events.module.js';
import { EngineStatus } from './engine-status.entity.js';
import { EnginesService } from './engines.service.js';
import { UndoService } from './undo.service.js';

@Module({
  imports: [TypeOrmModule.forFeature([EngineStatus]), EventsModule],
  providers: [EnginesService, UndoService],
  exports: [EnginesService, UndoService],
})
export class EnginesModule {}
