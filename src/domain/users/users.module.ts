import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { EventsModule } from '../events/events.module.js';
import { SettingsModule } from '../settings/settings.module.js';
import { TotpService } from './totp.service.js';
import { User } from './user.entity.js';
import { UsersService } from './users.service.js';

@Module({
  imports: [TypeOrmModule.forFeature([User]), EventsModule, SettingsModule],
  providers: [UsersService, TotpService],
  exports: [UsersService, TotpService],
})
export class UsersModule {}
