import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger';
import { IsBoolean, IsOptional } from 'class-validator';
import { IsText } from '../../http/validation/text.decorator.js';
import { XraySuccess } from './success.dto.js';

export class XrayCollectorStatus {
  @ApiProperty({ example: true })
  enabled: boolean;

  /** Days (UTC) between today and `newest_date`; null before the first collection. */
  @ApiProperty({ type: 'integer', nullable: true, minimum: 0, example: 0 })
  lag_days: number | null;

  /** Day (UTC) of the last collection; null before the first. */
  @ApiProperty({ type: 'string', nullable: true, example: '2030-01-31' })
  newest_date: string | null;

  /** When it last collected; null: never. */
  @ApiProperty({ type: 'string', nullable: true, example: '2030-01-31T12:00:00Z' })
  collected_at: string | null;

  /** As it was sent: kept as text, never run. */
  @ApiProperty({ example: 'xray_daily_usage.sh' })
  script: string;
}

export class XrayCollectorStatusResponse extends XraySuccess {
  @ApiProperty()
  status: XrayCollectorStatus;
}

export class XrayCollectorToggleRequest {
  @ApiProperty({ example: true })
  @IsBoolean({ message: 'enabled must be true or false' })
  enabled: boolean;

  /** Kept as text, never run. */
  @ApiPropertyOptional({ example: 'xray_daily_usage.sh' })
  @IsOptional()
  @IsText(0, 255)
  script?: string | null;
}

export class XrayCollectorToggleResponse extends XraySuccess {
  @ApiProperty({ example: true })
  enabled: boolean;
}

export class XrayCollectorRunRequest {
  /** Books what was counted into today at once; otherwise that happens at the end of the minute. */
  @ApiPropertyOptional({ default: false, example: false })
  @IsOptional()
  @IsBoolean({ message: 'include_today must be true or false' })
  include_today?: boolean | null;
}
