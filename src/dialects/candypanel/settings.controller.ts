import { Body, Get, Param, Put } from '@nestjs/common';
import { SettingsService } from '../../domain/settings/settings.service.js';
import { CandyPanelApi } from './candypanel.api.js';
import { Confirmation } from './envelope.dto.js';
import { done } from './envelope.mapper.js';
import { SettingsRecord, SettingUpdateRequest } from './settings.dto.js';

@CandyPanelApi('settings')
export class SettingsController {
  constructor(private readonly settings: SettingsService) {}

  /**
   * Show all settings
   * @remarks Secrets are masked as `********`.
   */
  @Get()
  listSettings(): Promise<SettingsRecord> {
    return this.settings.all();
  }

  /**
   * Change a setting
   * @remarks In effect when this answers. Writing the mask back leaves a secret as it is.
   * @param key Name of the setting
   */
  @Put(':key')
  async updateSetting(@Param('key') key: string, @Body() body: SettingUpdateRequest): Promise<Confirmation> {
    await this.settings.set(key, body.value);
    return done('Changed!');
  }
}
