import { ApiProperty } from '@nestjs/swagger';

export class PingResponse {
  @ApiProperty({ enum: [true], example: true })
  ok: boolean;

  @ApiProperty({ example: 'pong' })
  message: string;

  @ApiProperty({ example: '2030-01-31T12:00:00Z' })
  ts: string;
}
