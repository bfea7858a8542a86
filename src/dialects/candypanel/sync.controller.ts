import { HttpCode, Post } from '@nestjs/common';
import { SyncService } from '../../domain/tunnels/sync.service.js';
import { Answers } from '../../http/route.decorators.js';
import { CandyPanelApi } from './candypanel.api.js';
import { Confirmation } from './envelope.dto.js';
import { done } from './envelope.mapper.js';
import { toSyncError } from './sync.mapper.js';

@CandyPanelApi('sync')
export class SyncController {
  constructor(private readonly tunnels: SyncService) {}

  /**
   * Bring devices and books in step now
   * @remarks Counts traffic, then cuts off who is past date or quota. All of it is done when this answers.
   */
  @Post()
  @HttpCode(200)
  @Answers({ engine_busy: 409 })
  async sync(): Promise<Confirmation> {
    await this.tunnels.sync().catch((error: unknown) => {
      throw toSyncError(error);
    });
    return done('Synchronization process initiated successfully.');
  }
}
