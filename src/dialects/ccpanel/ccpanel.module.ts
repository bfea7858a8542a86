import { Module } from '@nestjs/common';
import { DialectRegistry } from '../../http/dialect.registry.js';
import { ccpanel } from './ccpanel.errors.js';

@Module({})
export class CcPanelModule {
  constructor(dialects: DialectRegistry) {
    dialects.register(ccpanel);
  }
}
