import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger';
import { IsBoolean, IsIn, IsOptional } from 'class-validator';
import { IsPort } from '../../http/validation/numbers.decorator.js';
import { IsText } from '../../http/validation/text.decorator.js';

const port = {
  oneOf: [
    { type: 'integer', minimum: 1, maximum: 65535 },
    { type: 'string', pattern: '^\\d{1,5}$' },
  ],
};

export class InterfaceRecord {
  /** IPv4 address of the server inside the tunnel, with the length of the prefix of its network. */
  @ApiProperty({ example: '10.0.0.1/24' })
  address_range: string;

  /** UDP. */
  @ApiProperty({ type: 'integer', minimum: 1, maximum: 65535, example: 51820 })
  port: number;

  /** 0 is `wg0`. */
  @ApiProperty({ type: 'integer', minimum: 0, example: 0 })
  wg: number;

  @ApiProperty({ minLength: 44, maxLength: 44 })
  private_key: string;

  @ApiProperty({ minLength: 44, maxLength: 44, example: 'xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=' })
  public_key: string;

  /** It is wanted up; false: there is no device, and its clients cannot connect. */
  @ApiProperty({ example: true })
  status: boolean;
}

export class InterfaceCreateRequest {
  /**
   * IPv4 address of the server inside the tunnel, with the length of its network's prefix, 8 to 30. The network must not
   * overlap that of another interface.
   */
  @ApiProperty({ example: '10.0.1.1/24' })
  @IsText(1, 32)
  address_range: string;

  /** UDP port that no other interface has, as a number or a numeric string. */
  @ApiProperty({ ...port, example: 51821 })
  @IsPort()
  port: number;
}

/** Fields that are left out, or null, stay as they are. */
export class InterfaceUpdateRequest {
  /** As `address_range` when creating. All clients of the interface must lie in it. */
  @ApiPropertyOptional({ nullable: true, example: '10.0.0.1/24' })
  @IsOptional()
  @IsText(1, 32)
  address?: string | null;

  /** Clients need a config with the new port; those that are connected stay so for now. */
  @ApiPropertyOptional({ ...port, nullable: true, example: 51820 })
  @IsOptional()
  @IsPort()
  port?: number | null;

  /** False takes the device away, true makes it again. */
  @ApiPropertyOptional({ nullable: true, example: true })
  @IsOptional()
  @IsBoolean({ message: 'status must be true or false' })
  status?: boolean | null;
}

export class InterfaceDeleteQuery {
  /** `true` deletes the clients of the interface as well. */
  @ApiPropertyOptional({ enum: ['true', 'false'], default: 'false' })
  @IsOptional()
  @IsIn(['true', 'false'], { message: 'force must be true or false' })
  force?: string;
}
