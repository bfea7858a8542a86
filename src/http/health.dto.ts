import { ApiProperty } from '@nestjs/swagger';

export class HealthResponse {
  @ApiProperty({ example: 'ok' })
  status: string;

  @ApiProperty({ type: 'integer', minimum: 0, example: 86400 })
  uptime_seconds: number;
}

export class ReadinessPart {
  @ApiProperty({ example: 'wireguard' })
  name: string;

  /** `absent`: this installation does without it, which is not a fault. */
  @ApiProperty({ enum: ['up', 'down', 'absent'], example: 'up' })
  state: 'up' | 'down' | 'absent';

  @ApiProperty({ example: 'Devices are made by the kernel' })
  message: string;

  /** The line that mends it. */
  @ApiProperty({ type: String, nullable: true, example: null })
  hint: string | null;

  @ApiProperty({ type: String, nullable: true, example: '2030-01-31T12:00:00Z' })
  seen_at: string | null;
}

export class ReadinessResponse {
  @ApiProperty({ enum: ['ready', 'unready'], example: 'ready' })
  status: 'ready' | 'unready';

  @ApiProperty({ type: [ReadinessPart] })
  parts: ReadinessPart[];
}
