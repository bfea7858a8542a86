import { Body, Delete, Get, HttpCode, Param, Post, StreamableFile } from '@nestjs/common';
import { ApiOkResponse, ApiProduces } from '@nestjs/swagger';
import { BackupsService } from '../../domain/backups/backups.service.js';
import { Answers } from '../../http/route.decorators.js';
import {
  XrayBackupPreviewResponse,
  XrayBackupResponse,
  XrayBackupRestoreRequest,
  XrayBackupRestoreResponse,
  XrayBackupsResponse,
} from './backups.dto.js';
import { toBackupItem, toPreview, toRestoreOptions } from './backups.mapper.js';
import { XraySuccess } from './success.dto.js';
import { XrayDashboardApi } from './xray-dashboard.api.js';

@XrayDashboardApi('backups')
export class BackupsController {
  constructor(private readonly backups: BackupsService) {}

  /** List the backups, newest first */
  @Get()
  async listBackups(): Promise<XrayBackupsResponse> {
    return { ok: true, backups: (await this.backups.list()).map(toBackupItem) };
  }

  /**
   * Make a backup
   * @remarks Of users, inbounds, WireGuard and settings, encrypted. The file is there when this answers.
   */
  @Post()
  @Answers({ backup_busy: 409 })
  async createBackup(): Promise<XrayBackupResponse> {
    return { ok: true, ...toBackupItem(await this.backups.create()) };
  }

  /**
   * Show what a backup holds
   * @param file Name of a listed backup
   */
  @Get(':file/preview')
  async previewBackup(@Param('file') file: string): Promise<XrayBackupPreviewResponse> {
    return toPreview(await this.backups.preview(file));
  }

  /**
   * Download a backup
   * @remarks Beyond the documented contract. It opens with this server's SECRET_KEY, or its recovery phrase.
   * @param file Name of a listed backup
   */
  @Get(':file/download')
  @ApiProduces('application/octet-stream')
  @ApiOkResponse({ schema: { type: 'string', format: 'binary' } })
  async downloadBackup(@Param('file') file: string): Promise<StreamableFile> {
    const { filename, sizeBytes, stream } = await this.backups.download(file);
    return new StreamableFile(stream, {
      type: 'application/octet-stream',
      length: sizeBytes,
      disposition: `attachment; filename="${filename}"`,
    });
  }

  /**
   * Bring parts back to what a backup holds
   * @remarks A preview unless `preview` is false. A backup of the present state is made first; engines match what was
   * restored when this answers. Usage and money are never turned back.
   * @param file Name of a listed backup
   */
  @Post(':file/restore')
  @HttpCode(200)
  @Answers({ backup_busy: 409 })
  async restoreBackup(
    @Param('file') file: string,
    @Body() body: XrayBackupRestoreRequest,
  ): Promise<XrayBackupRestoreResponse> {
    const { preview, safetyFilename } = await this.backups.restore(file, toRestoreOptions(body));
    return { ...toPreview(preview), restored_from: safetyFilename === null ? null : file, saved_as: safetyFilename };
  }

  /**
   * Delete a backup
   * @param file Name of a listed backup
   */
  @Delete(':file')
  async deleteBackup(@Param('file') file: string): Promise<XraySuccess> {
    await this.backups.remove(file);
    return { ok: true };
  }
}
