import { ApiExtraModels, ApiProperty, ApiPropertyOptional, getSchemaPath } from '@nestjs/swagger';
import { IsWholeNumber } from '../../http/validation/numbers.decorator.js';
import { IsText } from '../../http/validation/text.decorator.js';
import { MayBeEmpty } from './query.decorator.js';
import { XraySuccess } from './success.dto.js';

/** Limits the global part to one user. */
export class XrayUsageUserQuery {
  /** Email of a user; empty for all. */
  @ApiPropertyOptional({ example: 'user@example.com' })
  @MayBeEmpty()
  @IsText(1, 1024)
  user?: string;
}

export class XrayUsageQuery extends XrayUsageUserQuery {
  /** So many days up to today (UTC). */
  @ApiPropertyOptional({ default: 7, example: 7 })
  @MayBeEmpty()
  @IsWholeNumber(1, 366)
  days?: number;
}

export class XrayUsageMeta {
  /** Days in UTC, oldest first; all lists of a day have one entry for each. */
  @ApiProperty({ type: [String], example: ['2030-01-30', '2030-01-31'] })
  days: string[];
}

export class XrayDomainValue {
  @ApiProperty({ example: 'example.com' })
  domain: string;

  @ApiProperty({ type: 'integer', format: 'int64', minimum: 0, example: 734003200 })
  value: number;
}

/** Of all users, also those who are gone, or of the one that was asked for. */
export class XrayUsageGlobal {
  @ApiProperty({ type: 'array', items: { type: 'integer', format: 'int64' }, example: [0, 734003200] })
  daily_traffic_bytes: number[];

  /** Of the span before, day by day. */
  @ApiProperty({ type: 'array', items: { type: 'integer', format: 'int64' }, example: [0, 524288000] })
  prev_daily_traffic_bytes: number[];

  @ApiProperty({ type: 'array', items: { type: 'integer', format: 'int64' }, example: [0, 120] })
  daily_conns: number[];

  /** Of the span before, day by day. */
  @ApiProperty({ type: 'array', items: { type: 'integer', format: 'int64' }, example: [0, 98] })
  prev_daily_conns: number[];

  @ApiProperty({ type: 'array', items: { type: 'integer', format: 'int64' }, example: [0, 734003200] })
  cumulative_traffic_bytes: number[];

  @ApiProperty({ type: 'array', items: { type: 'integer', format: 'int64' }, example: [0, 120] })
  cumulative_conns: number[];

  /** Each user's bytes are shared out among the domains of its connections: an estimate. */
  @ApiProperty({ type: [XrayDomainValue] })
  top_domains_traffic: XrayDomainValue[];

  @ApiProperty({ type: [XrayDomainValue] })
  top_domains_conns: XrayDomainValue[];
}

export class XrayUsageOfUser {
  @ApiProperty({ format: 'uuid', example: '2f1c9a52-6f0e-4a43-9d2a-0e5b8c1f7a64' })
  uuid: string;

  @ApiProperty({ example: 'user@example.com' })
  email: string;

  @ApiProperty({ example: 'Anna' })
  alias: string;

  /** Traffic changed by more than 20 % against the seven days before. */
  @ApiProperty({ example: false })
  anomaly: boolean;

  @ApiProperty({ type: 'array', items: { type: 'integer', format: 'int64' }, example: [0, 734003200] })
  daily_traffic_bytes: number[];

  @ApiProperty({ type: 'array', items: { type: 'integer', format: 'int64' }, example: [0, 120] })
  daily_conns: number[];

  /** Of the last seven days of the span. */
  @ApiProperty({ type: 'integer', format: 'int64', minimum: 0, example: 734003200 })
  sum7_traffic_bytes: number;

  /** Of the seven days before those. */
  @ApiProperty({ type: 'integer', format: 'int64', minimum: 0, example: 629145600 })
  sum_prev7_traffic_bytes: number;

  @ApiProperty({ type: 'integer', minimum: 0, example: 120 })
  sum7_conns: number;

  @ApiProperty({ type: 'integer', minimum: 0, example: 98 })
  sum_prev7_conns: number;
}

/** The document's "dashboard data". Days without traffic are zeros. */
@ApiExtraModels(XrayUsageOfUser)
export class XrayUsageResponse extends XraySuccess {
  @ApiProperty()
  meta: XrayUsageMeta;

  @ApiProperty()
  global: XrayUsageGlobal;

  /** By email. */
  @ApiProperty({ type: 'object', additionalProperties: { $ref: getSchemaPath(XrayUsageOfUser) } })
  users: Record<string, XrayUsageOfUser>;
}

export class XrayUsageDatesResponse extends XraySuccess {
  /** Days (UTC) with traffic or connections, oldest first. */
  @ApiProperty({ type: [String], example: ['2030-01-30', '2030-01-31'] })
  dates: string[];
}
