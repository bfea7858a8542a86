import { ApiProperty } from '@nestjs/swagger';
import { Matches } from 'class-validator';

const uuid = 'a1b2c3d4-e5f6-7890-abcd-ef1234567890';

export class CreateClientRequest {
  /** Letters, digits, underscore and hyphen; nobody else's. */
  @ApiProperty({ pattern: '^[a-zA-Z0-9_-]{1,50}$', minLength: 1, maxLength: 50, example: 'user_123456_1730000000' })
  @Matches(/^[a-zA-Z0-9_-]{1,50}$/, { message: 'name must be 1 to 50 letters, digits, underscores or hyphens' })
  name: string;
}

/** A client as the list shows it. */
export class ClientItem {
  /** Names the client in all other requests. */
  @ApiProperty({ format: 'uuid', example: uuid })
  id: string;

  @ApiProperty({ example: 'user_123456_1730000000' })
  name: string;

  /** Its address in the tunnel. */
  @ApiProperty({ format: 'ipv4', example: '10.8.0.2' })
  address: string;

  @ApiProperty({ minLength: 44, maxLength: 44, example: 'xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=' })
  publicKey: string;

  @ApiProperty({ type: 'string', format: 'date-time', example: '2025-11-01T12:00:00Z' })
  createdAt: string;

  /** It may connect now: not disabled, and within its date and quota. */
  @ApiProperty({ example: true })
  enabled: boolean;
}

/** A client with what it has used. */
export class ClientDetails extends ClientItem {
  /** Bytes that the server received from the client. */
  @ApiProperty({ type: 'integer', format: 'int64', minimum: 0, example: 1234567890 })
  transferRx: number | bigint;

  /** Bytes that the server sent to the client. */
  @ApiProperty({ type: 'integer', format: 'int64', minimum: 0, example: 987654321 })
  transferTx: number | bigint;

  /** Null when it never connected. */
  @ApiProperty({ type: 'string', format: 'date-time', nullable: true, example: '2025-11-01T12:30:00Z' })
  latestHandshakeAt: string | null;
}

/** A client just made, with what its owner needs to connect. */
export class CreatedClientItem extends ClientItem {
  /** The file for a WireGuard application. */
  @ApiProperty({ example: '[Interface]\nPrivateKey = …\nAddress = 10.8.0.2/32\n\n[Peer]\n…' })
  configuration: string;

  /** The same as a QR code: a PNG in a `data:` URL. */
  @ApiProperty({ example: 'data:image/png;base64,iVBORw0KGgoAAAANS…' })
  qrcodeDataURL: string;
}

/** What an action without a result of its own answers. */
export class Done {
  @ApiProperty({ enum: [true], example: true })
  success: boolean;
}
