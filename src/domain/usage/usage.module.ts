import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { UsageCounter } from './usage-counter.entity.js';
import { UsageReportsService } from './usage-reports.service.js';
import { UsageRetentionService } from './usage-retention.service.js';
import { UsageScheduler } from './usage.scheduler.js';
import { UsageService } from './usage.service.js';

@Module({
  imports: [TypeOrmModule.forFeature([UsageCounter])],
  providers: [UsageService, UsageReportsService, UsageRetentionService, UsageScheduler],
  exports: [UsageService, UsageReportsService],
})
export class UsageModule {}
