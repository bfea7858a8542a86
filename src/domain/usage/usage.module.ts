import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { UsageCounter } from './usage-counter.entity.js';
import { UsageRetentionService } from './usage-retention.service.js';
import { UsageScheduler } from './usage.scheduler.js';
import { UsageService } from './usage.service.js';

@Module({
  imports: [TypeOrmModule.forFeature([UsageCounter])],
  providers: [UsageService, UsageRetentionService, UsageScheduler],
  exports: [UsageService],
})
export class UsageModule {}
