import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger';
import { Transform } from 'class-transformer';
import { IsIn } from 'class-validator';
import { IsWholeNumber } from '../../http/validation/numbers.decorator.js';
import { IsText } from '../../http/validation/text.decorator.js';
import { MayBeEmpty } from './query.decorator.js';
import { XraySuccess } from './success.dto.js';

const SEVERITIES = ['INFO', 'WARN', 'ERROR'] as const;
/** Events are kept for 400 days. */
const MOST_HOURS = 9_600;

const upperCase = ({ value }: { value: unknown }): unknown => (typeof value === 'string' ? value.toUpperCase() : value);

export class XrayEventFilter {
  /** The last so many hours. */
  @ApiPropertyOptional({ default: 24, example: 24 })
  @MayBeEmpty()
  @IsWholeNumber(1, MOST_HOURS)
  hours?: number;

  /** Family of events, such as USER, SETTINGS, AUTH, XRAY, BACKUP, SYSTEM; in either case. */
  @ApiPropertyOptional({ example: 'USER' })
  @MayBeEmpty()
  @Transform(upperCase)
  @IsText(1, 32)
  type?: string;

  @ApiPropertyOptional({ enum: SEVERITIES, example: 'INFO' })
  @MayBeEmpty()
  @Transform(upperCase)
  @IsIn(SEVERITIES, { message: `severity must be one of ${SEVERITIES.join(', ')}` })
  severity?: (typeof SEVERITIES)[number];

  /** Part of the product, such as xray or wireguard. */
  @ApiPropertyOptional({ example: 'xray' })
  @MayBeEmpty()
  @IsText(1, 32)
  service?: string;
}

export class XrayEventQuery extends XrayEventFilter {
  @ApiPropertyOptional({ default: 100, example: 100 })
  @MayBeEmpty()
  @IsWholeNumber(1, 1_000)
  limit?: number;

  /** So many of the newest are left out. */
  @ApiPropertyOptional({ default: 0, example: 0 })
  @MayBeEmpty()
  @IsWholeNumber(0, 1_000_000)
  offset?: number;
}

export class XrayEventItem {
  @ApiProperty({ pattern: '^\\d{1,19}$', example: '4711' })
  id: string;

  @ApiProperty({ example: '2030-01-31T12:00:00Z' })
  ts: string;

  @ApiProperty({ example: 'USER' })
  type: string;

  @ApiProperty({ type: 'string', enum: SEVERITIES, example: 'INFO' })
  severity: string;

  @ApiProperty({ example: 'xray' })
  service: string;

  @ApiProperty({ example: 'user_created' })
  action: string;

  /** Name of a user, `token:<name>`, or `system`. */
  @ApiProperty({ example: 'admin' })
  actor: string;

  /** Where the request came from. */
  @ApiProperty({ type: 'string', nullable: true, example: '203.0.113.7' })
  ip: string | null;

  /** What it was done to. */
  @ApiProperty({ type: 'string', nullable: true, example: 'user@example.com' })
  target: string | null;

  @ApiProperty({ example: 'User user@example.com was created' })
  message: string;

  /** Before and after, without secrets. */
  @ApiProperty({ type: 'object', additionalProperties: true, example: { after: { alias: 'Anna' } } })
  details: Record<string, unknown>;
}

export class XrayEventsResponse extends XraySuccess {
  /** Newest first. */
  @ApiProperty({ type: [XrayEventItem] })
  events: XrayEventItem[];

  /** All that match, whatever the limit. */
  @ApiProperty({ type: 'integer', minimum: 0, example: 100 })
  total: number;
}

const counts = (example: Record<string, number>) =>
  ({ type: 'object', additionalProperties: { type: 'integer', minimum: 0 }, example }) as const;

export class XrayEventCounts {
  @ApiProperty(counts({ USER: 12, SETTINGS: 3 }))
  by_type: Record<string, number>;

  @ApiProperty(counts({ INFO: 14, WARN: 1, ERROR: 0 }))
  by_severity: Record<string, number>;

  @ApiProperty(counts({ xray: 13, wireguard: 2 }))
  by_service: Record<string, number>;

  @ApiProperty({ type: 'integer', minimum: 0, example: 15 })
  total: number;
}

export class XrayEventStatsResponse extends XraySuccess {
  @ApiProperty()
  stats: XrayEventCounts;
}
