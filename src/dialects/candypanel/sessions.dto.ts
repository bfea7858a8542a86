import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger';
import { IsOptional, Matches } from 'class-validator';
import { IsText } from '../../http/validation/text.decorator.js';

export class LoginRequest {
  @ApiProperty({ example: 'admin' })
  @IsText(1, 150)
  username: string;

  @ApiProperty({ example: 'your-password' })
  @IsText(1, 1024)
  password: string;

  /** The code of the second factor, for those who have one. */
  @ApiPropertyOptional({ type: String, pattern: '^\\d{6}$', example: '123456' })
  @IsOptional()
  @Matches(/^\d{6}$/, { message: 'totp must be a code of 6 digits' })
  totp?: string;
}

export class LoginResponse {
  @ApiProperty({ example: 'eyJhbGciOiJIUzI1NiJ9…' })
  access_token: string;

  @ApiProperty({ enum: ['bearer'], example: 'bearer' })
  token_type: string;
}
