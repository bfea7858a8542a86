import type { BackupItem } from '../../domain/backups/backup.folder.js';
import type { BackupPreview, RestoreOptions } from '../../domain/backups/backups.service.js';
import { formatUtc } from '../../platform/clock/clock.js';
import type { XrayBackupItem, XrayBackupPreviewResponse, XrayBackupRestoreRequest } from './backups.dto.js';

export function toBackupItem({ filename, sizeBytes, createdAt, reason }: BackupItem): XrayBackupItem {
  return { filename, size: sizeBytes, created: formatUtc(createdAt), reason };
}

export function toPreview({ filename, createdAt, parts }: BackupPreview): XrayBackupPreviewResponse {
  return {
    ok: true,
    filename,
    created: formatUtc(createdAt),
    preview: {
      users: parts.users.items,
      inbounds: parts.inbounds.items,
      wireguard: parts.wireguard.items,
      settings: parts.settings.items,
      counts: {
        users: parts.users.count,
        inbounds: parts.inbounds.count,
        wireguard: parts.wireguard.count,
        settings: parts.settings.count,
      },
    },
  };
}

export function toRestoreOptions({ preview, parts, phrase }: XrayBackupRestoreRequest): RestoreOptions {
  return { preview: preview ?? true, parts: parts ?? undefined, phrase: phrase ?? undefined };
}
