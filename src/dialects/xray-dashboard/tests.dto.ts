import { ApiExtraModels, ApiProperty, getSchemaPath } from '@nestjs/swagger';
import { XraySuccess } from './success.dto.js';

export class XrayCheckResult {
  @ApiProperty({ example: true })
  ok: boolean;

  @ApiProperty({ type: 'integer', minimum: 0, example: 4 })
  duration_ms: number;

  @ApiProperty({ example: 'PostgreSQL 16.4 answers and takes writes' })
  message: string;

  /** What mends it; null when nothing is wrong. */
  @ApiProperty({ type: 'string', nullable: true, example: null })
  hint: string | null;
}

@ApiExtraModels(XrayCheckResult)
export class XrayTestsRunResponse extends XraySuccess {
  /** By name. */
  @ApiProperty({ type: 'object', additionalProperties: { $ref: getSchemaPath(XrayCheckResult) } })
  results: Record<string, XrayCheckResult>;

  /** All checks are well. */
  @ApiProperty({ example: true })
  passed: boolean;
}

export class XrayTestItem {
  @ApiProperty({ example: 'database' })
  name: string;

  /** `pending`: it has not been run since this server started. */
  @ApiProperty({ type: 'string', enum: ['pending', 'running', 'passed', 'failed'], example: 'passed' })
  status: string;

  @ApiProperty({ example: 'PostgreSQL answers, takes writes, and has the schema of this release' })
  description: string;

  /** Of the last time; null: never. */
  @ApiProperty({ type: 'integer', nullable: true, minimum: 0, example: 4 })
  duration_ms: number | null;

  @ApiProperty({ type: 'string', nullable: true, example: 'PostgreSQL 16.4 answers and takes writes' })
  message: string | null;

  @ApiProperty({ type: 'string', nullable: true, example: null })
  hint: string | null;
}

export class XrayTestsListResponse extends XraySuccess {
  @ApiProperty({ type: [XrayTestItem] })
  tests: XrayTestItem[];
}

/** Checks of a run that have ended. */
export class XrayTestsProgress {
  @ApiProperty({ type: 'integer', minimum: 0, example: 8 })
  done: number;

  @ApiProperty({ type: 'integer', minimum: 0, example: 8 })
  total: number;
}

export class XrayTestsStatusResponse extends XraySuccess {
  @ApiProperty({ type: 'string', enum: ['ready', 'running'], example: 'ready' })
  status: string;

  /** When the last run ended; null: not since this server started. */
  @ApiProperty({ type: 'string', nullable: true, example: '2030-01-31T12:00:00Z' })
  last_run: string | null;

  @ApiProperty()
  progress: XrayTestsProgress;
}
