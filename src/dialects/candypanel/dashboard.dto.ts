import { ApiProperty } from '@nestjs/swagger';

export class DashboardMemory {
  @ApiProperty({ pattern: '^\\d+\\.\\d\\d GB$', example: '1.95 GB' })
  total: string;

  @ApiProperty({ pattern: '^\\d+\\.\\d\\d GB$', example: '1.07 GB' })
  available: string;

  @ApiProperty({ pattern: '^\\d+\\.\\d%$', example: '45.2%' })
  usage: string;
}

export class DashboardNetwork {
  /** What this host receives. */
  @ApiProperty({ pattern: '^\\d+\\.\\d\\d KB/s$', example: '12.34 KB/s' })
  download: string;

  /** What this host sends. */
  @ApiProperty({ pattern: '^\\d+\\.\\d\\d KB/s$', example: '56.78 KB/s' })
  upload: string;
}

/** The state of host and tunnels, sampled in the background: two seconds old at most. */
export class DashboardRecord {
  /** Over all processors. */
  @ApiProperty({ pattern: '^\\d+\\.\\d%$', example: '12.3%' })
  cpu: string;

  @ApiProperty()
  mem: DashboardMemory;

  @ApiProperty({ type: 'integer', minimum: 0, example: 42 })
  clients_count: number;

  /** The setting `status`. */
  @ApiProperty({ enum: ['0', '1'], example: '1' })
  status: string;

  /** The operator's own lines (setting `alert`), then what is wrong at this moment. */
  @ApiProperty({ type: [String], example: ['Maintenance on Sunday'] })
  alert: string[];

  /** Bytes that went through the tunnels since the installation, both ways. */
  @ApiProperty({ pattern: '^\\d+$', example: '786432000' })
  bandwidth: string;

  /** Seconds since this host started. */
  @ApiProperty({ pattern: '^\\d+$', example: '86400' })
  uptime: string;

  @ApiProperty()
  net: DashboardNetwork;
}
