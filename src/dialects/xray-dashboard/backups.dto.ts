import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger';
import { ArrayMaxSize, IsArray, IsBoolean, IsOptional, IsString } from 'class-validator';
import { IsText } from '../../http/validation/text.decorator.js';
import { XraySuccess } from './success.dto.js';

const FILENAME = '20300131T120000000Z-config.cwb';

export class XrayBackupItem {
  @ApiProperty({ example: FILENAME })
  filename: string;

  /** Bytes. */
  @ApiProperty({ type: 'integer', format: 'int64', minimum: 0, example: 18432 })
  size: number;

  @ApiProperty({ example: '2030-01-31T12:00:00Z' })
  created: string;

  /** Why it was made; null when the file cannot be read. */
  @ApiProperty({ type: 'string', nullable: true, example: 'manual' })
  reason: string | null;
}

export class XrayBackupsResponse extends XraySuccess {
  /** Newest first. */
  @ApiProperty({ type: [XrayBackupItem] })
  backups: XrayBackupItem[];
}

export class XrayBackupResponse extends XrayBackupItem {
  @ApiProperty({ enum: [true], example: true })
  ok: boolean;
}

export class XrayBackupEntry {
  @ApiProperty({ example: 'client' })
  kind: string;

  @ApiProperty({ example: 'alice' })
  name: string;
}

/** How much there is of each part. */
export class XrayBackupCounts {
  @ApiProperty({ type: 'integer', minimum: 0, example: 1 })
  users: number;

  @ApiProperty({ type: 'integer', minimum: 0, example: 1 })
  inbounds: number;

  @ApiProperty({ type: 'integer', minimum: 0, example: 12 })
  wireguard: number;

  @ApiProperty({ type: 'integer', minimum: 0, example: 20 })
  settings: number;
}

/** What the backup holds of the parts that were asked for. Lists end after 10,000 entries. */
export class XrayBackupContents {
  @ApiProperty({ type: [XrayBackupEntry] })
  users: XrayBackupEntry[];

  @ApiProperty({ type: [XrayBackupEntry] })
  inbounds: XrayBackupEntry[];

  @ApiProperty({ type: [XrayBackupEntry] })
  wireguard: XrayBackupEntry[];

  @ApiProperty({ type: [XrayBackupEntry] })
  settings: XrayBackupEntry[];

  @ApiProperty()
  counts: XrayBackupCounts;
}

export class XrayBackupPreviewResponse extends XraySuccess {
  @ApiProperty({ example: FILENAME })
  filename: string;

  @ApiProperty({ example: '2030-01-31T12:00:00Z' })
  created: string;

  @ApiProperty()
  preview: XrayBackupContents;
}

export class XrayBackupRestoreRequest {
  /** Only `false` really restores. */
  @ApiPropertyOptional({ default: true, example: false })
  @IsOptional()
  @IsBoolean({ message: 'preview must be true or false' })
  preview?: boolean | null;

  /** What to bring back; all when left out. */
  @ApiPropertyOptional({
    type: 'array',
    items: { type: 'string', enum: ['users', 'inbounds', 'wireguard', 'settings'] },
    example: ['users', 'inbounds'],
  })
  @IsOptional()
  @IsArray({ message: 'parts must be a list' })
  @ArrayMaxSize(16, { message: 'parts must have at most 16 entries' })
  @IsString({ each: true, message: 'parts must be texts' })
  parts?: string[] | null;

  /** Recovery phrase of the installation that made the backup, where that is another one. */
  @ApiPropertyOptional({ writeOnly: true })
  @IsOptional()
  @IsText(0, 1000)
  phrase?: string | null;
}

export class XrayBackupRestoreResponse extends XrayBackupPreviewResponse {
  /** The backup whose state is here now; null: this was a preview. */
  @ApiProperty({ type: 'string', nullable: true, example: FILENAME })
  restored_from: string | null;

  /** The backup of the state before; null: this was a preview. */
  @ApiProperty({ type: 'string', nullable: true, example: '20300131T130000000Z-config.cwb' })
  saved_as: string | null;
}
