import { Body, Get, HttpCode, Post } from '@nestjs/common';
import { XraySettingsService } from '../../domain/xray/xray-settings.service.js';
import { XraySettingsResponse, XraySettingsUpdateRequest } from './settings.dto.js';
import { toSettingsChange, toSettingsDocument } from './settings.mapper.js';
import { XraySuccess } from './success.dto.js';
import { XrayDashboardApi } from './xray-dashboard.api.js';

@XrayDashboardApi('settings')
export class SettingsController {
  constructor(private readonly settings: XraySettingsService) {}

  /** Show the settings of dashboard, inbound and collector */
  @Get()
  async showSettings(): Promise<XraySettingsResponse> {
    return { ok: true, settings: toSettingsDocument(await this.settings.read()) };
  }

  /**
   * Change settings
   * @remarks All that is given, or nothing. Clients can connect the new way when this answers; changing how the engine
   * listens cuts all connections.
   */
  @Post()
  @HttpCode(200)
  async updateSettings(@Body() body: XraySettingsUpdateRequest): Promise<XraySuccess> {
    await this.settings.update(toSettingsChange(body));
    return { ok: true };
  }
}
