import { API_TOKEN_LABEL } from '../auth/api-tokens.service.js';
import { CLIENT_KEY_LABEL, PRESHARED_KEY_LABEL } from '../clients/clients.service.js';
import { INTERFACE_KEY_LABEL } from '../interfaces/interfaces.service.js';
import { SETTING_LABEL } from '../settings/settings.service.js';
import { TOTP_SECRET_LABEL } from '../users/totp.service.js';
import { REALITY_KEY_LABEL, TLS_KEY_LABEL } from '../xray/xray-inbounds.service.js';
import type { TableSource } from './archive.body.js';
import { backupPartUnknown } from './backups.errors.js';

/** What a restore may be limited to, by the names of the contract. */
export const BACKUP_PARTS = ['users', 'inbounds', 'wireguard', 'settings'] as const;

export type BackupPart = (typeof BACKUP_PARTS)[number];

/** What the rows of a table are to people. */
export type BackupKind = 'user' | 'api_token' | 'xray_user' | 'inbound' | 'setting' | 'interface' | 'client';

/** A table of scope `config`. */
export interface BackupTable extends TableSource {
  part: BackupPart;
  kind: BackupKind;
  /** The column that names a row to people, and what stands before its value; without a column, all of the name. */
  nameColumn?: string;
  namePrefix?: string;
  /** Columns with sealed values, each with its label. */
  sealed: Readonly<Record<string, string>>;
}

/** Everything that a backup of scope `config` holds. Usage, events and money are no part of it. */
export const BACKUP_TABLES: readonly BackupTable[] = [
  { name: 'users', part: 'users', kind: 'user', nameColumn: 'username', sealed: { totp_secret: TOTP_SECRET_LABEL } },
  { name: 'api_tokens', part: 'users', kind: 'api_token', nameColumn: 'name', sealed: { token: API_TOKEN_LABEL } },
  {
    name: 'xray_users',
    part: 'users',
    kind: 'xray_user',
    nameColumn: 'email',
    // Who is being removed is gone.
    where: 'removed_at IS NULL',
    sealed: {},
  },
  {
    name: 'xray_inbounds',
    part: 'inbounds',
    kind: 'inbound',
    nameColumn: 'inbound_tag',
    sealed: { reality_private_key: REALITY_KEY_LABEL, key_pem: TLS_KEY_LABEL },
  },
  { name: 'settings', part: 'settings', kind: 'setting', nameColumn: 'key', sealed: { sealed: SETTING_LABEL } },
  { name: 'xray_settings', part: 'settings', kind: 'setting', namePrefix: 'xray_dashboard', sealed: {} },
  {
    name: 'wireguard_interfaces',
    part: 'wireguard',
    kind: 'interface',
    nameColumn: 'number',
    namePrefix: 'wg',
    sealed: { private_key: INTERFACE_KEY_LABEL },
  },
  {
    name: 'clients',
    part: 'wireguard',
    kind: 'client',
    nameColumn: 'name',
    where: 'removed_at IS NULL',
    sealed: { private_key: CLIENT_KEY_LABEL, preshared_key: PRESHARED_KEY_LABEL },
  },
];

/** All parts when none are named. Throws `backup_part_unknown`. */
export function checkedParts(names: readonly string[] | undefined): ReadonlySet<BackupPart> {
  if (names === undefined || names.length === 0) return new Set(BACKUP_PARTS);
  return new Set(
    names.map((name) => {
      const part = BACKUP_PARTS.find((known) => known === name);
      if (part === undefined) throw backupPartUnknown(name, BACKUP_PARTS);
      return part;
    }),
  );
}
