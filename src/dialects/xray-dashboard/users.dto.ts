import { ApiExtraModels, ApiProperty, ApiPropertyOptional, getSchemaPath } from '@nestjs/swagger';
import { IsBoolean, IsOptional } from 'class-validator';
import { IsByteCount } from '../../http/validation/numbers.decorator.js';
import { IsText } from '../../http/validation/text.decorator.js';
import { IsUtcDate } from '../../http/validation/times.decorator.js';
import { MayBeEmpty } from './query.decorator.js';
import { XraySuccess } from './success.dto.js';

const UUID = '2f1c9a52-6f0e-4a43-9d2a-0e5b8c1f7a64';
const EMAIL = 'user@example.com';

/** A user by email without regard to case, by the uuid of the moment, or by both, which must agree. */
export class XrayUserReference {
  @ApiPropertyOptional({ example: EMAIL })
  @MayBeEmpty()
  @IsText(1, 1024)
  email?: string | null;

  @ApiPropertyOptional({ example: UUID })
  @MayBeEmpty()
  @IsText(1, 64)
  uuid?: string | null;
}

export class XrayUserAddRequest {
  /** One `@`, at most 255 characters, no white space, quotes, `$ { } < >`; unique without regard to case. */
  @ApiProperty({ example: EMAIL })
  @IsText(1, 1024)
  email: string;

  @ApiPropertyOptional({ default: '', example: 'Anna' })
  @IsOptional()
  @IsText(0, 128)
  alias?: string | null;

  /** Bytes that the user may use, both ways together; 0 is unlimited. Beyond the documented contract. */
  @ApiPropertyOptional({ default: 0, example: 53687091200 })
  @IsOptional()
  @IsByteCount()
  traffic_limit_bytes?: string | null;

  /** The user is off from this second on; null never. Beyond the documented contract. */
  @ApiPropertyOptional({ nullable: true, example: '2030-12-31T23:59:59Z' })
  @IsOptional()
  @IsUtcDate()
  expires_at?: Date | null;

  /** Beyond the documented contract. */
  @ApiPropertyOptional({ default: true, example: true })
  @IsOptional()
  @IsBoolean({ message: 'enabled must be true or false' })
  enabled?: boolean | null;
}

export class XrayAliasRequest extends XrayUserReference {
  /** Shown in links and lists in place of the email; empty takes it away. */
  @ApiProperty({ example: 'Anna' })
  @IsText(0, 128)
  alias: string;
}

/** Fields that are left out stay as they are. */
export class XrayUserUpdateRequest extends XrayUserReference {
  @ApiPropertyOptional({ example: 'Anna' })
  @IsOptional()
  @IsText(0, 128)
  alias?: string | null;

  /** Bytes, 0 is unlimited. Raising it lets in again who had used it up. */
  @ApiPropertyOptional({ example: 107374182400 })
  @IsOptional()
  @IsByteCount()
  traffic_limit_bytes?: string | null;

  /** Null: never. A later one lets in again who had expired. */
  @ApiPropertyOptional({ nullable: true, example: '2031-12-31T23:59:59Z' })
  @IsOptional()
  @IsUtcDate()
  expires_at?: Date | null;

  /** False cuts the user off at once. True alone does not bring back one that is past date or quota. */
  @ApiPropertyOptional({ example: true })
  @IsOptional()
  @IsBoolean({ message: 'enabled must be true or false' })
  enabled?: boolean | null;
}

export class XrayUserItem {
  @ApiProperty({ maxLength: 255, example: EMAIL })
  email: string;

  @ApiProperty({ format: 'uuid', example: UUID })
  uuid: string;

  /** Empty when there is none. */
  @ApiProperty({ maxLength: 128, example: 'Anna' })
  alias: string;

  /** That of the inbound; empty for none. */
  @ApiProperty({ example: 'xtls-rprx-vision' })
  flow: string;

  /** What the operator wants. */
  @ApiProperty({ example: true })
  enabled: boolean;

  /** It may connect now: wanted, within date and quota. */
  @ApiProperty({ example: true })
  active: boolean;

  /** Why it may not although it is enabled. */
  @ApiProperty({ type: 'string', enum: ['expired', 'limited'], nullable: true, example: null })
  ended_reason: string | null;

  /** Bytes, 0 is unlimited. */
  @ApiProperty({ type: 'integer', format: 'int64', minimum: 0, example: 53687091200 })
  traffic_limit_bytes: number | bigint;

  /** Null: never. */
  @ApiProperty({ type: 'string', nullable: true, example: '2030-12-31T23:59:59Z' })
  expires_at: string | null;

  @ApiProperty({ example: '2026-01-31T12:00:00Z' })
  created_at: string;
}

export class XrayUsersResponse extends XraySuccess {
  /** Oldest first. */
  @ApiProperty({ type: [XrayUserItem] })
  users: XrayUserItem[];
}

export class XrayUserResponse extends XraySuccess {
  @ApiProperty()
  user: XrayUserItem;
}

export class XrayKickResponse extends XraySuccess {
  @ApiProperty({ format: 'uuid', example: '7b0d3c1e-52a8-4f0b-8f1c-3a9be6d2c410' })
  new_uuid: string;
}

export class XrayLinkResponse extends XraySuccess {
  @ApiProperty({ example: `vless://${UUID}@vpn.example.com:443?encryption=none&security=none&type=tcp#Anna` })
  link: string;

  /** The link as a QR code: a PNG as a data URL. */
  @ApiProperty({ example: 'data:image/png;base64,iVBORw0KGgo…' })
  qr: string;

  @ApiProperty({ example: EMAIL })
  email: string;
}

export class XrayUserStatsItem {
  /** Bytes since the user exists, both ways together. */
  @ApiProperty({ type: 'integer', format: 'int64', minimum: 0, example: 786432000 })
  traffic: number | bigint;

  /** Connections since the user exists. */
  @ApiProperty({ type: 'integer', minimum: 0, example: 1200 })
  conns: number;

  /** It moved bytes lately, or the engine names it as connected. */
  @ApiProperty({ example: true })
  isOnline: boolean;

  /** The same as `traffic`. */
  @ApiProperty({ type: 'integer', format: 'int64', minimum: 0, example: 786432000 })
  totalTrafficBytes: number | bigint;

  /** What the user sent. */
  @ApiProperty({ type: 'integer', format: 'int64', minimum: 0, example: 52428800 })
  uploadBytes: number | bigint;

  /** What the user received. */
  @ApiProperty({ type: 'integer', format: 'int64', minimum: 0, example: 734003200 })
  downloadBytes: number | bigint;

  /** Days (UTC) with traffic. */
  @ApiProperty({ type: 'integer', minimum: 0, example: 12 })
  daysUsed: number;

  /** When bytes were first seen; null: never. */
  @ApiProperty({ type: 'string', nullable: true, example: '2026-01-31T12:00:00Z' })
  firstSeenAt: string | null;

  /** When bytes were last seen; null: never. */
  @ApiProperty({ type: 'string', nullable: true, example: '2026-02-12T08:30:00Z' })
  lastSeenAt: string | null;
}

/** One user's statistics, with who it is: the form in which the dashboard's own releases send them. */
export class XrayUserStatsRow extends XrayUserStatsItem {
  @ApiProperty({ example: EMAIL })
  email: string;

  @ApiProperty({ format: 'uuid', example: UUID })
  uuid: string;

  @ApiProperty({ example: 'Anna' })
  alias: string;
}

@ApiExtraModels(XrayUserStatsItem)
export class XrayUserStatsResponse extends XraySuccess {
  /** By email. */
  @ApiProperty({ type: 'object', additionalProperties: { $ref: getSchemaPath(XrayUserStatsItem) } })
  stats: Record<string, XrayUserStatsItem>;

  /** The same as a list, oldest user first. */
  @ApiProperty({ type: [XrayUserStatsRow] })
  users: XrayUserStatsRow[];
}
