import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger';
import { IsIn } from 'class-validator';
import { IsWholeNumber } from '../../http/validation/numbers.decorator.js';
import { MayBeEmpty } from './query.decorator.js';
import { XraySuccess } from './success.dto.js';

const SERIES_METRICS = ['traffic', 'conns', 'online_users'] as const;
const TOP_METRICS = ['traffic', 'conns'] as const;
const EMAIL = 'user@example.com';

/** Bytes a second over the last poll, in the user's directions. */
export class XrayRate {
  @ApiProperty({ type: 'number', minimum: 0, example: 12800 })
  up: number;

  @ApiProperty({ type: 'number', minimum: 0, example: 512000 })
  down: number;
}

export class XrayLiveUser {
  @ApiProperty({ example: EMAIL })
  email: string;

  @ApiProperty({ example: 'Anna' })
  alias: string;

  @ApiProperty()
  rate: XrayRate;

  /** Connections opened within the last minute. */
  @ApiProperty({ type: 'integer', minimum: 0, example: 7 })
  conns: number;

  /** Addresses seen within the last minutes, newest first, at most 16. */
  @ApiProperty({ type: [String], example: ['203.0.113.7'] })
  ips: string[];
}

export class XrayLiveTotal {
  /** Users online. */
  @ApiProperty({ type: 'integer', minimum: 0, example: 1 })
  users: number;

  /** Connections opened within the last minute. */
  @ApiProperty({ type: 'integer', minimum: 0, example: 7 })
  conns: number;

  @ApiProperty()
  rate: XrayRate;
}

/** The same in the form of the dashboard's own releases. */
export class XrayLiveSummary {
  /** Emails. */
  @ApiProperty({ type: [String], example: [EMAIL] })
  onlineUsers: string[];

  @ApiProperty({ type: 'integer', minimum: 0, example: 1 })
  onlineUsersCount: number;

  @ApiProperty({ type: 'integer', minimum: 0, example: 7 })
  conns: number;

  /** Moved within the last minute. */
  @ApiProperty({ type: 'integer', format: 'int64', minimum: 0, example: 31457280 })
  trafficBytes: number;

  /** False: nobody measures at this moment. */
  @ApiProperty({ example: true })
  trafficAvailable: boolean;
}

export class XrayLiveResponse extends XraySuccess {
  /** Who is online, most traffic first. */
  @ApiProperty({ type: [XrayLiveUser] })
  users: XrayLiveUser[];

  @ApiProperty()
  total: XrayLiveTotal;

  @ApiProperty()
  now: XrayLiveSummary;

  /** When it was measured; while nobody measures, when it was asked. */
  @ApiProperty({ example: '2030-01-31T12:00:00Z' })
  timestamp: string;
}

export class XraySeriesQuery {
  @ApiPropertyOptional({ enum: SERIES_METRICS, default: 'traffic' })
  @MayBeEmpty()
  @IsIn(SERIES_METRICS, { message: `metric must be one of ${SERIES_METRICS.join(', ')}` })
  metric?: (typeof SERIES_METRICS)[number];

  /** Seconds up to now. */
  @ApiPropertyOptional({ default: 3600, example: 3600 })
  @MayBeEmpty()
  @IsWholeNumber(60, 172_800)
  period?: number;

  /** Seconds of one entry, rounded up to whole minutes; no longer than the period. */
  @ApiPropertyOptional({ default: 60, example: 60 })
  @MayBeEmpty()
  @IsWholeNumber(60, 172_800)
  granularity?: number;

  /** Another name of `granularity`, which wins. */
  @ApiPropertyOptional({ example: 60 })
  @MayBeEmpty()
  @IsWholeNumber(60, 172_800)
  gran?: number;
}

export class XraySeriesPoint {
  /** Where its bucket begins. */
  @ApiProperty({ example: '2030-01-31T12:00:00Z' })
  time: string;

  /** Bytes or connections within the bucket, or the most users online in one of its minutes. */
  @ApiProperty({ type: 'integer', format: 'int64', minimum: 0, example: 31457280 })
  value: number;
}

export class XraySeriesResponse extends XraySuccess {
  /** Oldest first, zeros where nothing was. */
  @ApiProperty({ type: [XraySeriesPoint] })
  series: XraySeriesPoint[];
}

export class XrayTopQuery {
  @ApiPropertyOptional({ enum: TOP_METRICS, default: 'traffic' })
  @MayBeEmpty()
  @IsIn(TOP_METRICS, { message: `metric must be one of ${TOP_METRICS.join(', ')}` })
  metric?: (typeof TOP_METRICS)[number];

  /** Seconds up to now. */
  @ApiPropertyOptional({ default: 3600, example: 3600 })
  @MayBeEmpty()
  @IsWholeNumber(60, 172_800)
  period?: number;

  @ApiPropertyOptional({ default: 10, example: 10 })
  @MayBeEmpty()
  @IsWholeNumber(1, 50)
  limit?: number;
}

export class XrayTopItem {
  /** Email. */
  @ApiProperty({ example: EMAIL })
  user: string;

  /** Bytes or connections within the period. */
  @ApiProperty({ type: 'integer', format: 'int64', minimum: 0, example: 734003200 })
  value: number;

  @ApiProperty({ example: 'Anna' })
  alias: string;

  /** Of all users' together. */
  @ApiProperty({ type: 'number', minimum: 0, maximum: 100, example: 62.5 })
  sharePct: number;
}

export class XrayTopResponse extends XraySuccess {
  /** The most first. */
  @ApiProperty({ type: [XrayTopItem] })
  top: XrayTopItem[];
}
