import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger';
import { IsIn, IsOptional } from 'class-validator';
import type { ApiTokenScope } from '../../domain/auth/api-token.entity.js';
import { IsText } from '../../http/validation/text.decorator.js';
import { Envelope } from './envelope.dto.js';

const scopes: ApiTokenScope[] = ['admin', 'payments:verify'];

export class ApiTokenPutRequest {
  /** A token of this name gets the new value. */
  @ApiProperty({ example: 'telegram_bot_api' })
  @IsText(1, 64)
  name: string;

  /** What callers send as `Authorization: Bearer <token>`: 16 to 512 visible ASCII characters. */
  @ApiProperty({ minLength: 16, maxLength: 512 })
  @IsText(1, 512)
  token: string;

  /**
   * What it may do: all that an admin may, or nothing but verify payments. Left out, a new token is an admin's, and one
   * that is there keeps what it has.
   */
  @ApiPropertyOptional({ enum: scopes })
  @IsOptional()
  @IsIn(scopes, { message: `scope must be one of ${scopes.join(', ')}` })
  scope?: ApiTokenScope | null;
}

export class ApiTokenValue {
  @ApiProperty({ minLength: 16, maxLength: 512 })
  token: string;
}

export class ApiTokenResponse extends Envelope {
  @ApiProperty()
  data: ApiTokenValue;
}
