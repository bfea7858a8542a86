import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger';
import { IsOptional } from 'class-validator';
import { IsPort } from '../../http/validation/numbers.decorator.js';
import { IsText } from '../../http/validation/text.decorator.js';

/** The values that the contract shows, for what a request leaves out. */
export const installDefaults = {
  wg_port: 51_820,
  wg_address_range: '10.0.0.1/24',
  wg_dns: '8.8.8.8',
  admin_user: 'admin',
  admin_password: 'admin',
} as const;

export class InstallRequest {
  /** Public IP address of this server, IPv4 or IPv6: where clients connect to. */
  @ApiProperty({ example: '203.0.113.10' })
  @IsText(0, 64)
  server_ip: string;

  /** UDP port of `wg0`, as a number or a numeric string. */
  @ApiPropertyOptional({
    oneOf: [
      { type: 'integer', minimum: 1, maximum: 65535 },
      { type: 'string', pattern: '^\\d{1,5}$' },
    ],
    default: installDefaults.wg_port,
    example: '51820',
  })
  @IsOptional()
  @IsPort()
  wg_port?: number | null;

  /** IPv4 address of the server inside the tunnel, with the length of its network's prefix, 8 to 30. */
  @ApiPropertyOptional({ default: installDefaults.wg_address_range, example: '10.0.0.1/24' })
  @IsOptional()
  @IsText(1, 32)
  wg_address_range?: string | null;

  /** DNS servers in the configs of clients, separated by commas. */
  @ApiPropertyOptional({ default: installDefaults.wg_dns, example: '8.8.8.8' })
  @IsOptional()
  @IsText(0, 1000)
  wg_dns?: string | null;

  /** Name of the first admin. Ignored when the request comes with an admin's token. */
  @ApiPropertyOptional({ default: installDefaults.admin_user, example: 'admin' })
  @IsOptional()
  @IsText(1, 150)
  admin_user?: string | null;

  /**
   * Password of the first admin: 8 characters or more, or any with `ALLOW_WEAK_PASSWORDS=true`. Ignored when the request
   * comes with an admin's token.
   */
  @ApiPropertyOptional({ default: installDefaults.admin_password, format: 'password', example: 'a-long-password' })
  @IsOptional()
  @IsText(1, 1024)
  admin_password?: string | null;
}

export class InstalledResponse {
  /** `POST /install` has succeeded once. */
  @ApiProperty({ example: true })
  installed: boolean;
}
