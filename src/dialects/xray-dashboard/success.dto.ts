import { ApiProperty } from '@nestjs/swagger';

/** What every answer of the Xray dashboard's API carries beside its own fields. */
export class XraySuccess {
  @ApiProperty({ enum: [true], example: true })
  ok: boolean;
}
