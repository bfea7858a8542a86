import { ApiProperty } from '@nestjs/swagger';
import { XraySuccess } from './success.dto.js';

export class XrayConfigResponse extends XraySuccess {
  /** The engine's own config file, private keys and users' credentials masked; empty while there is none. */
  @ApiProperty({ type: 'object', additionalProperties: true, example: { inbounds: [], outbounds: [] } })
  config: Record<string, unknown>;
}

export class XrayRestartResponse extends XraySuccess {
  @ApiProperty({ example: 'restarted' })
  message: string;
}

/** What a client of REALITY must know. */
export class XrayRealityResponse extends XraySuccess {
  @ApiProperty({ type: 'integer', minimum: 1, maximum: 65535, example: 443 })
  port: number;

  /** Public key, base64url. */
  @ApiProperty({ example: 'Z84J2IelR9ch3k8VtlVhhs5ycBUlXA7wHBWcBrjqnAw' })
  pbk: string;

  /** The site that is borrowed. */
  @ApiProperty({ example: 'www.microsoft.com' })
  sni: string;

  /** Short id, hex. */
  @ApiProperty({ example: '6ba85179e30d4fc2' })
  sid: string;

  /** The browser whose TLS handshake clients imitate. */
  @ApiProperty({ example: 'chrome' })
  fp: string;

  /** Empty for none. */
  @ApiProperty({ example: 'xtls-rprx-vision' })
  flow: string;

  /** `host:port` whose handshake is borrowed. */
  @ApiProperty({ example: 'www.microsoft.com:443' })
  dest: string;
}
