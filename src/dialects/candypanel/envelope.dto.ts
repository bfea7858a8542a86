import { ApiProperty } from '@nestjs/swagger';

/** What CandyPanel answers to everything that is done: a sentence, and `data` where there is something to hand over. */
export abstract class Envelope {
  /** One sentence about what was done. */
  @ApiProperty({ example: 'Changed!' })
  message: string;

  /** Always true: what failed answers an error, with `detail`. */
  @ApiProperty({ enum: [true], example: true })
  success: true;
}

/** Something was done, and there is nothing more to tell. */
export class Confirmation extends Envelope {
  @ApiProperty({ type: 'object', additionalProperties: false, nullable: true, enum: [null], example: null })
  data: null;
}
