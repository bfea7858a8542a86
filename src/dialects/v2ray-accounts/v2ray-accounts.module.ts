import { Module } from '@nestjs/common';
import { DialectRegistry } from '../../http/dialect.registry.js';
import { v2rayAccounts } from './v2ray-accounts.errors.js';

@Module({})
export class V2RayAccountsModule {
  constructor(dialects: DialectRegistry) {
    dialects.register(v2rayAccounts);
  }
}
