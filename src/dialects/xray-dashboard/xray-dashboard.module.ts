import { Module } from '@nestjs/common';
import { DialectRegistry } from '../../http/dialect.registry.js';
import { ApiV2Controller } from './api-v2.controller.js';
import { PingController } from './ping.controller.js';
import { xrayDashboard } from './xray-dashboard.errors.js';

@Module({ controllers: [PingController, ApiV2Controller] })
export class XrayDashboardModule {
  constructor(dialects: DialectRegistry) {
    dialects.register(xrayDashboard);
  }
}
