import { Module } from '@nestjs/common';
import { HostSampler } from './host-sampler.service.js';

@Module({
  providers: [HostSampler],
  exports: [HostSampler],
})
export class SystemModule {}
