import { Module } from '@nestjs/common';
import { AuthModule } from '../../domain/auth/auth.module.js';
import { ClientsModule } from '../../domain/clients/clients.module.js';
import { DialectRegistry } from '../../http/dialect.registry.js';
import { ClientsController } from './clients.controller.js';
import { SessionController } from './session.controller.js';
import { wgEasy } from './wg-easy.errors.js';

@Module({ imports: [AuthModule, ClientsModule], controllers: [SessionController, ClientsController] })
export class WgEasyModule {
  constructor(dialects: DialectRegistry) {
    dialects.register(wgEasy);
  }
}
