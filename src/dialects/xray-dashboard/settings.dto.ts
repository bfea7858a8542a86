import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger';
import { Type } from 'class-transformer';
import { IsBoolean, IsIn, IsObject, IsOptional, ValidateNested } from 'class-validator';
import { IsPort } from '../../http/validation/numbers.decorator.js';
import { IsText } from '../../http/validation/text.decorator.js';
import { XraySuccess } from './success.dto.js';

const PROTOCOLS = ['vless', 'vmess', 'trojan'] as const;
const NETWORKS = ['tcp', 'ws', 'grpc', 'xhttp', 'httpupgrade'] as const;
const SECURITIES = ['none', 'tls', 'reality'] as const;
const FLOWS = ['', 'xtls-rprx-vision'] as const;

const oneOf = (values: readonly string[]) => ({
  message: `$property must be one of ${values.map((value) => value || "''").join(', ')}`,
});

/** The inbound: fields that are left out stay as they are. What the engine at hand cannot do is refused. */
export class XrayInboundSettingsChange {
  /** Host in links; empty: that of WireGuard's configs. */
  @ApiPropertyOptional({ example: 'vpn.example.com' })
  @IsOptional()
  @IsText(0, 253)
  server_host?: string | null;

  @ApiPropertyOptional({ example: 443 })
  @IsOptional()
  @IsPort()
  server_port?: number | null;

  @ApiPropertyOptional({ example: 'vless-in' })
  @IsOptional()
  @IsText(1, 64)
  inbound_tag?: string | null;

  @ApiPropertyOptional({ enum: PROTOCOLS, example: 'vless' })
  @IsOptional()
  @IsIn(PROTOCOLS, oneOf(PROTOCOLS))
  protocol?: (typeof PROTOCOLS)[number] | null;

  @ApiPropertyOptional({ enum: NETWORKS, example: 'tcp' })
  @IsOptional()
  @IsIn(NETWORKS, oneOf(NETWORKS))
  network?: (typeof NETWORKS)[number] | null;

  /** ws, xhttp, httpupgrade: a path; grpc: the service name. */
  @ApiPropertyOptional({ example: '/ws' })
  @IsOptional()
  @IsText(0, 255)
  path?: string | null;

  @ApiPropertyOptional({ enum: SECURITIES, example: 'none' })
  @IsOptional()
  @IsIn(SECURITIES, oneOf(SECURITIES))
  security?: (typeof SECURITIES)[number] | null;

  /** Server name that clients ask for; with reality the site that is borrowed. */
  @ApiPropertyOptional({ example: 'www.microsoft.com' })
  @IsOptional()
  @IsText(0, 253)
  sni?: string | null;

  /** The browser whose TLS handshake clients imitate. */
  @ApiPropertyOptional({ example: 'chrome' })
  @IsOptional()
  @IsText(0, 32)
  fp?: string | null;

  @ApiPropertyOptional({ enum: FLOWS, example: '' })
  @IsOptional()
  @IsIn(FLOWS, oneOf(FLOWS))
  flow?: (typeof FLOWS)[number] | null;

  /** Short id of reality: hex, an even number of digits. */
  @ApiPropertyOptional({ example: '6ba85179e30d4fc2' })
  @IsOptional()
  @IsText(0, 16)
  sid?: string | null;

  /** `host:port` of the site that reality borrows. */
  @ApiPropertyOptional({ example: 'www.microsoft.com:443' })
  @IsOptional()
  @IsText(0, 259)
  dest?: string | null;

  /** Absolute path on the engine's host; together with `key_file`. */
  @ApiPropertyOptional({ example: '/etc/ssl/vpn.example.com.pem' })
  @IsOptional()
  @IsText(0, 1024)
  certificate_file?: string | null;

  @ApiPropertyOptional({ example: '/etc/ssl/vpn.example.com.key' })
  @IsOptional()
  @IsText(0, 1024)
  key_file?: string | null;

  /** Certificate chain as PEM text, together with `key`. Never shown again. */
  @ApiPropertyOptional({ writeOnly: true, example: '-----BEGIN CERTIFICATE-----\n…' })
  @IsOptional()
  @IsText(0, 65_536, { multiline: true })
  certificate?: string | null;

  /** Its private key as PEM text. Never shown again. */
  @ApiPropertyOptional({ writeOnly: true, example: '-----BEGIN PRIVATE KEY-----\n…' })
  @IsOptional()
  @IsText(0, 16_384, { multiline: true })
  key?: string | null;

  /** The engine may be restarted when bytes of somebody cut off still move 30 s later. */
  @ApiPropertyOptional({ example: false })
  @IsOptional()
  @IsBoolean({ message: 'restart_to_cut must be true or false' })
  restart_to_cut?: boolean | null;
}

export class XrayCollectorSettingsChange {
  @ApiPropertyOptional({ example: true })
  @IsOptional()
  @IsBoolean({ message: 'enabled must be true or false' })
  enabled?: boolean | null;

  /** Kept as text, never run. */
  @ApiPropertyOptional({ example: 'xray_daily_usage.sh' })
  @IsOptional()
  @IsText(0, 255)
  script?: string | null;
}

/** Merged deeply into what is there; parts and fields that are left out stay as they are. */
export class XraySettingsUpdateRequest {
  /** The front end's own document, whatever it is; at most 64 KiB together. */
  @ApiPropertyOptional({ type: 'object', additionalProperties: true, example: { theme: 'dark', lang: 'ru' } })
  @IsOptional()
  @IsObject({ message: 'ui must be a JSON object' })
  ui?: Record<string, unknown> | null;

  @ApiPropertyOptional()
  @IsOptional()
  @IsObject({ message: 'xray must be a JSON object' })
  @ValidateNested()
  @Type(() => XrayInboundSettingsChange)
  xray?: XrayInboundSettingsChange | null;

  @ApiPropertyOptional()
  @IsOptional()
  @IsObject({ message: 'collector must be a JSON object' })
  @ValidateNested()
  @Type(() => XrayCollectorSettingsChange)
  collector?: XrayCollectorSettingsChange | null;
}

/** The inbound. An empty object until there is one: the first user makes it, or somebody who sets it. */
export class XrayInboundSettings {
  @ApiPropertyOptional({ example: 'vpn.example.com' })
  server_host?: string;

  @ApiPropertyOptional({ type: 'integer', minimum: 1, maximum: 65535, example: 443 })
  server_port?: number;

  @ApiPropertyOptional({ example: 'vless-in' })
  inbound_tag?: string;

  @ApiPropertyOptional({ type: 'string', enum: PROTOCOLS, example: 'vless' })
  protocol?: string;

  @ApiPropertyOptional({ type: 'string', enum: NETWORKS, example: 'tcp' })
  network?: string;

  @ApiPropertyOptional({ example: '' })
  path?: string;

  @ApiPropertyOptional({ type: 'string', enum: SECURITIES, example: 'none' })
  security?: string;

  @ApiPropertyOptional({ example: '' })
  sni?: string;

  @ApiPropertyOptional({ example: 'chrome' })
  fp?: string;

  @ApiPropertyOptional({ type: 'string', enum: FLOWS, example: '' })
  flow?: string;

  @ApiPropertyOptional({ example: '6ba85179e30d4fc2' })
  sid?: string;

  @ApiPropertyOptional({ example: '' })
  dest?: string;

  @ApiPropertyOptional({ example: '' })
  certificate_file?: string;

  @ApiPropertyOptional({ example: '' })
  key_file?: string;

  /** Certificate and key are stored as text. */
  @ApiPropertyOptional({ example: false })
  has_certificate?: boolean;

  /** Public key of reality; its private half never leaves. */
  @ApiPropertyOptional({ example: 'Z84J2IelR9ch3k8VtlVhhs5ycBUlXA7wHBWcBrjqnAw' })
  reality_pbk?: string;

  @ApiPropertyOptional({ example: false })
  restart_to_cut?: boolean;
}

export class XrayCollectorSettings {
  @ApiProperty({ example: true })
  enabled: boolean;

  @ApiProperty({ example: 'xray_daily_usage.sh' })
  script: string;
}

export class XraySettingsDocument {
  @ApiProperty({ type: 'object', additionalProperties: true, example: { theme: 'dark', lang: 'ru' } })
  ui: Record<string, unknown>;

  @ApiProperty()
  xray: XrayInboundSettings;

  @ApiProperty()
  collector: XrayCollectorSettings;
}

export class XraySettingsResponse extends XraySuccess {
  @ApiProperty()
  settings: XraySettingsDocument;
}
