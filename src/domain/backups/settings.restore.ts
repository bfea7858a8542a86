import type { EntityManager } from 'typeorm';
import { type SecretBox, SecretBoxError } from '../../platform/crypto/secret-box.js';
import { type SettingKey, settingKeys, settingsRegistry } from '../settings/settings.registry.js';
import { SETTING_LABEL, type SettingChange, type SettingsService } from '../settings/settings.service.js';

/**
 * Makes settings what the archive says; those that it does not hold go back to their defaults, and so do values that
 * are valid no more. An installation never becomes uninstalled. Returns what to pass to `SettingsService.applied`.
 */
export async function restoreSettings(
  tx: EntityManager,
  settings: SettingsService,
  secretBox: SecretBox,
): Promise<SettingChange[]> {
  const rows = await tx.query<{ key: string; value: string | null; sealed: Buffer | null }[]>(
    'SELECT key, value, sealed FROM restored_settings',
  );
  const texts = new Map(rows.map(({ key, value, sealed }) => [key, sealed ? opened(secretBox, sealed) : value]));
  const values: Partial<Record<SettingKey, string | null>> = {};
  for (const key of settingKeys) {
    const text = texts.get(key) ?? null;
    if (key === 'install' && text !== '1') continue;
    const { type } = settingsRegistry[key];
    values[key] = text !== null && type.parse(text) !== undefined ? text : null;
  }
  return settings.store(values, tx);
}

/** Null: it did not open where the archive was made either. */
function opened(secretBox: SecretBox, sealed: Buffer): string | null {
  try {
    return secretBox.open(SETTING_LABEL, sealed);
  } catch (error) {
    if (error instanceof SecretBoxError) return null;
    throw error;
  }
}
