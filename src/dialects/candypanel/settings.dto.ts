import { ApiProperty } from '@nestjs/swagger';
import { IsText } from '../../http/validation/text.decorator.js';

export class SettingUpdateRequest {
  /** Always text. What it may be follows from the key; the answer to a value that does not fit says so. */
  @ApiProperty({ maxLength: 65536, example: '1.1.1.1' })
  @IsText(0, 65_536, { multiline: true })
  value: string;
}

/** Every setting as text. There are more of them than the contract shows. */
export class SettingsRecord {
  /** Public IP address of this server; empty before the installation. */
  @ApiProperty({ example: '203.0.113.10' })
  server_ip: string;

  /** Host in the configs of clients, spelt as in CandyPanel; `server_ip` when empty. */
  @ApiProperty({ example: 'vpn.example.org' })
  custom_endpont: string;

  /** Shown only: each login has a token of its own. */
  @ApiProperty({ enum: ['********'], example: '********' })
  session_token: string;

  /** DNS servers in the configs of clients, separated by commas. */
  @ApiProperty({ example: '8.8.8.8' })
  dns: string;

  /** JSON: name of the first admin, and a mask. Written with the mask, the password stays as it is. */
  @ApiProperty({ example: '{"user":"admin","password":"********"}' })
  admin: string;

  /** `1` or `0`. */
  @ApiProperty({ example: '1' })
  status: string;

  /** JSON array of texts: the operator's own lines, then what is wrong at this moment. */
  @ApiProperty({ example: '["Maintenance on Sunday"]' })
  alert: string;

  /** Hours between restarts of the interfaces, `0` never. */
  @ApiProperty({ example: '0' })
  reset_time: string;

  /** Bytes: of the interfaces, and in the configs of clients. */
  @ApiProperty({ example: '1420' })
  mtu: string;

  /** Shown only: bytes of all clients since the installation. */
  @ApiProperty({ pattern: '^\\d+$', example: '786432000' })
  bandwidth: string;

  /** Shown only: seconds since this host started. */
  @ApiProperty({ pattern: '^\\d+$', example: '86400' })
  uptime: string;

  /** Shown only: `1` once installed. */
  @ApiProperty({ enum: ['0', '1'], example: '1' })
  install: string;

  /** `1` runs the Telegram bot. */
  @ApiProperty({ enum: ['0', '1'], example: '0' })
  telegram_bot_status: string;

  /** Telegram id of the bot's admin, `0` for none. */
  @ApiProperty({ example: '0' })
  telegram_bot_admin_id: string;

  /** Masked; `0` when there is none. */
  @ApiProperty({ example: '********' })
  telegram_bot_token: string;

  /** JSON object of prices. */
  @ApiProperty({ example: '{"per_month":75000,"per_gb":4000}' })
  telegram_bot_prices: string;

  /** Shown only, JSON: the names of all API tokens, their values masked. */
  @ApiProperty({ example: '{"telegram_bot_api":"********"}' })
  api_tokens: string;

  /** `1`: a backup with each sync, at most one a day. */
  @ApiProperty({ enum: ['0', '1'], example: '1' })
  auto_backup: string;

  /** What happens to a client past its date or quota, beside being cut off. */
  @ApiProperty({ enum: ['disable', 'delete'], example: 'disable' })
  expired_client_action: string;

  /** Seconds between polls of the engines. */
  @ApiProperty({ example: '10' })
  sync_interval: string;

  /** Base of links that lead back to this server; may be empty. */
  @ApiProperty({ example: 'https://vpn.example.org' })
  public_url: string;

  /** Seconds, `0` is off. In the configs of clients. */
  @ApiProperty({ example: '25' })
  persistent_keepalive: string;

  /** What clients send through the tunnel, as networks separated by commas. */
  @ApiProperty({ example: '0.0.0.0/0, ::/0' })
  allowed_ips: string;

  /** `1`: clients have an IPv6 address in the tunnel too, where this server has IPv6. In the configs of clients. */
  @ApiProperty({ enum: ['0', '1'], example: '1' })
  ipv6: string;

  /** Whose password opens a session in wg-easy's API; the first admin's when empty. */
  @ApiProperty({ example: '' })
  wg_easy_user: string;

  /** `1`: clients may reach each other. */
  @ApiProperty({ enum: ['0', '1'], example: '1' })
  allow_peers: string;

  /** `1`: clients may reach this server on its own address in the tunnel. */
  @ApiProperty({ enum: ['0', '1'], example: '1' })
  allow_host: string;

  /** `1`: clients may reach the private networks behind this server. */
  @ApiProperty({ enum: ['0', '1'], example: '1' })
  allow_lan: string;
}
