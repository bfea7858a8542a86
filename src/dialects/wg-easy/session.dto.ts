import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger';
import { IsOptional, Matches } from 'class-validator';
import { IsText } from '../../http/validation/text.decorator.js';

export class SessionRequest {
  @ApiProperty({ example: 'your-wg-password-here' })
  @IsText(1, 1024)
  password: string;

  /** The code of the second factor, where the user has one. */
  @ApiPropertyOptional({ type: String, pattern: '^\\d{6}$', example: '123456' })
  @IsOptional()
  @Matches(/^\d{6}$/, { message: 'totp must be a code of 6 digits' })
  totp?: string;
}

export class SessionResponse {
  @ApiProperty({ enum: [true], example: true })
  success: boolean;

  /** Good for 24 hours. The cookie carries it too. */
  @ApiProperty({ example: 'eyJhbGciOiJIUzI1NiJ9…' })
  sessionToken: string;
}

export class SessionStateResponse {
  @ApiProperty({ enum: [true], example: true })
  requiresPassword: boolean;

  /** The request came with a session that is still good. */
  @ApiProperty({ example: true })
  authenticated: boolean;
}

export class SessionEndResponse {
  @ApiProperty({ enum: [true], example: true })
  success: boolean;
}
