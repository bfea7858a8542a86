import { ApiProperty } from '@nestjs/swagger';
import { IsText } from '../../http/validation/text.decorator.js';
import { XraySuccess } from './success.dto.js';

export class XrayServiceStatus {
  /** It runs. */
  @ApiProperty({ example: true })
  active: boolean;

  /** `inactive`: this installation does without it, which is no fault. */
  @ApiProperty({ type: 'string', enum: ['active', 'failed', 'inactive'], example: 'active' })
  state: string;

  @ApiProperty({ example: 'v2ray 4.34.0 runs' })
  message: string;

  /** The line that mends it, when something is wrong. */
  @ApiProperty({ type: 'string', nullable: true, example: null })
  hint: string | null;
}

export class XraySystemStatusResponse extends XraySuccess {
  /** This server. */
  @ApiProperty()
  ui: XrayServiceStatus;

  /** The proxy engine. */
  @ApiProperty()
  xray: XrayServiceStatus;

  /** The web console, which this server serves itself. */
  @ApiProperty()
  nextjs: XrayServiceStatus;

  @ApiProperty()
  wireguard: XrayServiceStatus;
}

export class XrayCpuUsage {
  /** 0 to 100 over all processors; null: this system does not tell. */
  @ApiProperty({ type: 'number', nullable: true, minimum: 0, maximum: 100, example: 12.3 })
  percent: number | null;

  /** Processors. */
  @ApiProperty({ type: 'integer', minimum: 1, example: 2 })
  count: number;
}

/** Bytes; null is what this system does not tell. */
export class XraySpaceUsage {
  @ApiProperty({ type: 'integer', format: 'int64', nullable: true, minimum: 0, example: 2093796556 })
  total: number | null;

  @ApiProperty({ type: 'integer', format: 'int64', nullable: true, minimum: 0, example: 944892805 })
  used: number | null;

  @ApiProperty({ type: 'integer', format: 'int64', nullable: true, minimum: 0, example: 1148903751 })
  available: number | null;

  /** 0 to 100, of what there is. */
  @ApiProperty({ type: 'number', nullable: true, minimum: 0, maximum: 100, example: 45.1 })
  percent: number | null;
}

/** Mean number of runnable tasks; null is what this system does not tell. */
export class XrayLoad {
  @ApiProperty({ type: 'number', nullable: true, minimum: 0, example: 0.42 })
  load1: number | null;

  @ApiProperty({ type: 'number', nullable: true, minimum: 0, example: 0.38 })
  load5: number | null;

  @ApiProperty({ type: 'number', nullable: true, minimum: 0, example: 0.31 })
  load15: number | null;
}

/** All links to the world together; null is what this system does not tell. */
export class XrayNetworkUsage {
  /** Bytes a second that this host receives. */
  @ApiProperty({ type: 'number', nullable: true, minimum: 0, example: 12800 })
  rx_rate: number | null;

  /** Bytes a second that this host sends. */
  @ApiProperty({ type: 'number', nullable: true, minimum: 0, example: 51200 })
  tx_rate: number | null;

  /** Bytes received since the host started. */
  @ApiProperty({ type: 'integer', format: 'int64', nullable: true, minimum: 0, example: 73400320000 })
  rx_bytes: number | null;

  /** Bytes sent since the host started. */
  @ApiProperty({ type: 'integer', format: 'int64', nullable: true, minimum: 0, example: 83886080000 })
  tx_bytes: number | null;
}

/** Sampled in the background: about two seconds old at most. */
export class XrayResourcesResponse extends XraySuccess {
  @ApiProperty()
  cpu: XrayCpuUsage;

  @ApiProperty()
  memory: XraySpaceUsage;

  /** Of the file system of DATA_DIR. */
  @ApiProperty()
  disk: XraySpaceUsage;

  @ApiProperty()
  load: XrayLoad;

  @ApiProperty()
  network: XrayNetworkUsage;

  /** Whole seconds since the host started. */
  @ApiProperty({ type: 'integer', nullable: true, minimum: 0, example: 864000 })
  uptime: number | null;

  @ApiProperty({ example: '2030-01-31T12:00:00Z' })
  timestamp: string;
}

export class XraySystemRestartRequest {
  /** One of ui, xray, nextjs. */
  @ApiProperty({ enum: ['ui', 'xray', 'nextjs'], example: 'xray' })
  @IsText(1, 64)
  target: string;
}

export class XraySystemRestartResponse extends XraySuccess {
  /** `restarting` of this server itself, which ends after the answer. */
  @ApiProperty({ enum: ['restarted', 'restarting'], example: 'restarted' })
  message: string;

  @ApiProperty({ enum: ['ui', 'xray', 'nextjs'], example: 'xray' })
  service: string;
}

export class XrayPortItem {
  @ApiProperty({ type: 'integer', minimum: 1, maximum: 65535, example: 443 })
  port: number;

  @ApiProperty({ type: 'string', enum: ['running', 'stopped'], example: 'running' })
  status: string;

  @ApiProperty({ type: 'string', enum: ['tcp', 'udp'], example: 'tcp' })
  protocol: string;

  @ApiProperty({ type: 'string', enum: ['http', 'wireguard', 'xray'], example: 'xray' })
  service: string;

  /** `http`, the name of a WireGuard device, the tag of an inbound. */
  @ApiProperty({ example: 'vless-in' })
  name: string;

  @ApiProperty({ example: 'It answers' })
  message: string;
}

export class XrayPortsResponse extends XraySuccess {
  @ApiProperty({ type: [XrayPortItem] })
  ports: XrayPortItem[];
}
