import { applyDecorators } from '@nestjs/common';
import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger';
import { Transform } from 'class-transformer';
import { IsBoolean, IsOptional, ValidateBy, ValidateIf } from 'class-validator';
import { isClientName } from '../../domain/clients/client-rules.js';
import { IsByteCount, IsWholeNumber } from '../../http/validation/numbers.decorator.js';
import { IsText } from '../../http/validation/text.decorator.js';
import { parseUtc } from '../../platform/clock/clock.js';
import { Envelope } from './envelope.dto.js';

const NO_EXPIRY = '9999-12-31T23:59:59';

/** The contract's `expires` is always a date, so this one stands for "never". */
export const NEVER = new Date(`${NO_EXPIRY}Z`);

/** A time, or an empty string: never. The field is a Date; never is NEVER. */
function IsExpiry(): PropertyDecorator {
  return applyDecorators(
    Transform(({ value }: { value: unknown }) => (typeof value === 'string' ? expiry(value) : value)),
    ValidateBy({
      name: 'isExpiry',
      validator: {
        validate: (value: unknown) => value instanceof Date,
        defaultMessage: () => '$property must be a time such as 2030-12-31T23:59:59 (UTC), or empty for never',
      },
    }),
    ApiProperty({ type: 'string', example: '2030-12-31T23:59:59' }),
  );
}

function expiry(text: string): Date | string {
  return text.trim() === '' ? NEVER : (parseUtc(text) ?? text);
}

function IsClientName(): PropertyDecorator {
  return ValidateBy({
    name: 'isClientName',
    validator: {
      validate: (value: unknown) => typeof value === 'string' && isClientName(value),
      defaultMessage: () =>
        '$property must be 1 to 64 letters, digits, spaces or any of _ - . @ +, without a space at either end',
    },
  });
}

export class ClientCreateRequest {
  /** Nobody else's. Letters and digits of any script, spaces, and `_ - . @ +`. */
  @ApiProperty({ minLength: 1, maxLength: 64, example: 'alice' })
  @IsClientName()
  name: string;

  /**
   * The client is off from this second on, UTC unless it carries an offset. One in the past is taken, and ends the client
   * at once. An empty string, null or `9999-12-31T23:59:59` means never.
   */
  @ApiProperty({ nullable: true })
  @ValidateIf((_request, value) => value !== null)
  @IsExpiry()
  expires: Date | null;

  /** Bytes that the client may use, download and upload together, as a number or a numeric string; `"0"`: unlimited. */
  @ApiProperty({ example: '1073741824' })
  @IsByteCount()
  traffic: string;

  /** Number of the interface to connect to: 0 is `wg0`. */
  @ApiPropertyOptional({ default: 0, example: 0 })
  @IsOptional()
  @IsWholeNumber(0, 65535)
  wg_id?: number | null;

  /** Free text for operators. */
  @ApiPropertyOptional({ default: '', example: 'paid until spring' })
  @IsOptional()
  @IsText(0, 1000, { multiline: true })
  note?: string | null;
}

/** Fields that are left out, or null, stay as they are. */
export class ClientUpdateRequest {
  /** As when creating. Raising it lets a client that had expired on again, with the config that it has. */
  @ApiPropertyOptional({ nullable: true })
  @IsOptional()
  @IsExpiry()
  expires?: Date | null;

  /** As when creating. Raising it lets a client that had used up its quota on again, with the config that it has. */
  @ApiPropertyOptional({ nullable: true, example: '2147483648' })
  @IsOptional()
  @IsByteCount()
  traffic?: string | null;

  /** False cuts the client off at once. True alone does not bring back one that is past its date or quota. */
  @ApiPropertyOptional({ nullable: true, example: true })
  @IsOptional()
  @IsBoolean({ message: 'status must be true or false' })
  status?: boolean | null;

  @ApiPropertyOptional({ nullable: true, example: 'Updated note' })
  @IsOptional()
  @IsText(0, 1000, { multiline: true })
  note?: string | null;
}

/** Bytes. */
export class UsedTraffic {
  /** What the client downloaded. */
  @ApiProperty({ type: 'integer', format: 'int64', minimum: 0, example: 734003200 })
  download: number | bigint;

  /** What the client uploaded. */
  @ApiProperty({ type: 'integer', format: 'int64', minimum: 0, example: 52428800 })
  upload: number | bigint;
}

export class ClientRecord {
  @ApiProperty({ minLength: 1, maxLength: 64, example: 'alice' })
  name: string;

  /** `YYYY-MM-DDTHH:MM:SS`, UTC; `9999-12-31T23:59:59` when it never expires. */
  @ApiProperty({ example: '2030-12-31T23:59:59' })
  expires: string;

  /** Bytes that the client may use, download and upload together; `"0"` when unlimited. */
  @ApiProperty({ pattern: '^\\d{1,19}$', example: '1073741824' })
  traffic: string;

  /** Number of its interface: 0 is `wg0`. */
  @ApiProperty({ type: 'integer', minimum: 0, example: 0 })
  wg_id: number;

  /** Empty when there is none. */
  @ApiProperty({ maxLength: 1000, example: 'paid until spring' })
  note: string;

  @ApiProperty({ minLength: 44, maxLength: 44, example: 'xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=' })
  public_key: string;

  @ApiProperty({ minLength: 44, maxLength: 44 })
  private_key: string;

  /** IPv4 address inside the tunnel, without a prefix. */
  @ApiProperty({ format: 'ipv4', example: '10.0.0.2' })
  address: string;

  /** `YYYY-MM-DDTHH:MM:SS`, UTC. */
  @ApiProperty({ example: '2026-01-31T12:00:00' })
  created_at: string;

  /** What it has used since it was made. The field is spelt like this on purpose. */
  @ApiProperty()
  used_trafic: UsedTraffic;

  /** Its last handshake is less than 180 seconds old. */
  @ApiProperty({ example: false })
  connected_now: boolean;

  /** It may connect now: wanted by its operator, within date and quota. */
  @ApiProperty({ example: true })
  status: boolean;
}

export class ClientCreated {
  /** The file for a WireGuard application. */
  @ApiProperty({ example: '[Interface]\nPrivateKey = …\nAddress = 10.0.0.2/32\n\n[Peer]\n…' })
  client_config: string;
}

export class ClientCreatedResponse extends Envelope {
  @ApiProperty()
  data: ClientCreated;
}

export class ClientConfig {
  /** The file for a WireGuard application, rendered from the settings of this moment. */
  @ApiProperty({ example: '[Interface]\nPrivateKey = …\nAddress = 10.0.0.2/32\n\n[Peer]\n…' })
  config: string;
}

export class ClientConfigResponse extends Envelope {
  @ApiProperty()
  data: ClientConfig;
}
