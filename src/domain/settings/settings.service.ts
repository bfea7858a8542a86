import { randomUUID } from 'node:crypto';
import { Injectable, type OnModuleInit } from '@nestjs/common';
import { InjectDataSource } from '@nestjs/typeorm';
import { DataSource, type EntityManager } from 'typeorm';
import { FreshCache } from '../../platform/cache/fresh-cache.js';
import { Clock } from '../../platform/clock/clock.js';
import { Config } from '../../platform/config/config.js';
import { SecretBox } from '../../platform/crypto/secret-box.js';
import { Notifications } from '../../platform/locks/notifications.js';
import { AppLogger } from '../../platform/logging/app-logger.js';
import { MASK } from '../events/details-mask.js';
import { EventsService } from '../events/events.service.js';
import { AlertsService } from './alerts.service.js';
import { Setting } from './setting.entity.js';
import { settingInvalid, settingReadOnly, settingUnknown } from './settings.errors.js';
import {
  type SettingDefinition,
  type SettingKey,
  settingKey,
  settingKeys,
  settingsRegistry,
  type SettingValue,
} from './settings.registry.js';

/** The part of the product that keeps a setting's value somewhere else, or measures it. */
export interface SettingOwner {
  /** The text to show, secrets masked. */
  read(): Promise<string>;
  /** Does what a `PUT` asks for, errors and event included; absent: shown only. */
  write?(text: string): Promise<void>;
}

/** Called after a change was committed. Throwing means that the change cannot be: it is taken back. */
export type SettingListener = (changed: readonly SettingKey[]) => void | Promise<void>;

type Texts = ReadonlyMap<string, string>;

export interface SettingChange {
  key: SettingKey;
  before: string | null;
  after: string | null;
}

const CHANNEL = 'settings';
export const SETTING_LABEL = 'settings/value';
// Notifications drop the cache at once; this is for the moments in which their connection is down.
const CACHE = { maxAgeMs: 5_000, maxEntries: 1 };

/** All settings: typed for the rest of the product, as text for clients. */
@Injectable()
export class SettingsService implements OnModuleInit {
  private readonly processId = randomUUID();
  private readonly cache: FreshCache<Texts>;
  private readonly fallbacks: ReadonlyMap<SettingKey, string>;
  private readonly owners = new Map<SettingKey, SettingOwner>();
  private readonly listeners: { keys: ReadonlySet<SettingKey>; listener: SettingListener }[] = [];

  constructor(
    @InjectDataSource() private readonly dataSource: DataSource,
    private readonly config: Config,
    private readonly secretBox: SecretBox,
    private readonly notifications: Notifications,
    private readonly events: EventsService,
    private readonly alerts: AlertsService,
    private readonly log: AppLogger,
    clock: Clock,
  ) {
    this.cache = new FreshCache(clock, CACHE);
    this.fallbacks = new Map(settingKeys.map((key) => [key, fallbackOf(key, config)]));
  }

  onModuleInit(): void {
    this.notifications.listen(CHANNEL, (payload) => this.changedElsewhere(payload));
    // What was sent meanwhile is lost: any of them may have changed.
    this.notifications.on('reconnected', () => void this.changedElsewhere({ keys: settingKeys }));
  }

  /** The value that counts now. */
  async get<K extends SettingKey>(key: K): Promise<SettingValue<K>> {
    return this.valueOf(key, await this.texts());
  }

  /** Several values of one moment. */
  async getAll<const K extends SettingKey>(...keys: K[]): Promise<{ [P in K]: SettingValue<P> }> {
    const texts = await this.texts();
    return Object.fromEntries(keys.map((key) => [key, this.valueOf(key, texts)])) as { [P in K]: SettingValue<P> };
  }

  /** The host that clients connect to; null while neither `custom_endpont` nor `server_ip` is set. */
  async endpointHost(): Promise<string | null> {
    const { custom_endpont: endpoint, server_ip: ip } = await this.getAll('custom_endpont', 'server_ip');
    return endpoint ?? ip;
  }

  /** Every setting as the text that clients see, secrets masked. */
  async all(): Promise<Record<SettingKey, string>> {
    const texts = await this.texts();
    const entries = settingKeys.map(async (key) => [key, await this.shown(key, texts)] as const);
    return Object.fromEntries(await Promise.all(entries)) as Record<SettingKey, string>;
  }

  /**
   * Sets what an operator may set; it is in effect when this returns. The mask leaves a secret as it is. Errors:
   * `setting_unknown`, `setting_read_only`, `setting_invalid`, and those of the parts that apply the setting, after which
   * it is as it was.
   */
  async set(name: string, text: string): Promise<void> {
    const key = settingKey(name);
    if (key === undefined) throw settingUnknown(name);
    const definition = definitionOf(key);
    if (definition.readOnly !== undefined) throw settingReadOnly(key, definition.readOnly);
    if (ownedElsewhere.has(key)) {
      const owner = this.owners.get(key);
      if (!owner?.write) throw settingReadOnly(key, `${key} is shown only.`);
      return owner.write(text);
    }
    if (definition.secret && text.trim() === MASK) return;
    let canonical = this.canonical(key, text);
    if (key === 'alert') canonical = await this.withoutLiveAlerts(canonical);

    const changes = await this.dataSource.transaction(async (tx) => {
      const written = await this.write({ [key]: canonical }, tx);
      for (const change of written) await this.recordChange(change, tx);
      return written;
    });
    await this.afterCommit(changes);
  }

  /**
   * Stores values in the caller's transaction, shown-only ones included; `null` goes back to the default. After the
   * commit the caller calls `applied` with what this returned, so that listeners run. Errors: `setting_invalid`.
   */
  store(values: Partial<Record<SettingKey, string | null>>, manager: EntityManager): Promise<SettingChange[]> {
    return this.write(values, manager);
  }

  /** Makes committed changes of `store` count in this process at once; throws what a listener threw, and takes back. */
  applied(changes: readonly SettingChange[]): Promise<void> {
    return this.afterCommit(changes);
  }

  /**
   * Stores what the environment seeds, for settings without a value of their own. For an empty database only, before
   * anything runs: listeners are not called. After the commit the caller calls `refresh`.
   */
  async seed(manager: EntityManager): Promise<void> {
    const seeds: Partial<Record<SettingKey, string>> = {};
    for (const key of settingKeys) {
      const text = definitionOf(key).seed?.(this.config) ?? null;
      if (text !== null) seeds[key] = text;
    }
    await this.write(seeds, manager, { onlyMissing: true });
  }

  /** Has this process read the table again. */
  refresh(): void {
    this.cache.clear();
  }

  /** Says who keeps or measures a setting. Called by that part when it starts. */
  provide(key: SettingKey, owner: SettingOwner): void {
    if (this.owners.has(key)) throw new Error(`Setting ${key} has an owner already`);
    this.owners.set(key, owner);
  }

  /** Calls `listener` after a change of one of these, by whichever process; in the one that wrote it, before `set` ends. */
  onChange(keys: readonly SettingKey[], listener: SettingListener): void {
    this.listeners.push({ keys: new Set(keys), listener });
  }

  private async shown(key: SettingKey, texts: Texts): Promise<string> {
    const owner = this.owners.get(key);
    if (owner) {
      try {
        return await owner.read();
      } catch (error) {
        this.log.warn('a setting could not be read from its owner', { key, error: String(error) });
        return this.fallbacks.get(key)!;
      }
    }
    if (key === 'alert') {
      const own = this.valueOf('alert', texts);
      return settingsRegistry.alert.type.format([...own, ...(await this.alerts.live())]);
    }
    const definition = definitionOf(key);
    const value = this.valueOf(key, texts);
    if (definition.secret && value !== null) return MASK;
    return definition.type.format(value);
  }

  private valueOf<K extends SettingKey>(key: K, texts: Texts): SettingValue<K> {
    const definition = definitionOf(key);
    const stored = texts.get(key);
    if (stored !== undefined) {
      const value = definition.type.parse(stored);
      if (value !== undefined) return value as SettingValue<K>;
      this.log.warn('a stored setting is not valid, its default counts', { key });
    }
    return definition.type.parse(this.fallbacks.get(key)!) as SettingValue<K>;
  }

  private canonical(key: SettingKey, text: string): string {
    const { type } = definitionOf(key);
    const value = type.parse(text);
    if (value === undefined) throw settingInvalid(key, type.expects);
    return type.format(value);
  }

  /** A client that reads `alert`, adds a line and writes it back must not make live warnings permanent. */
  private async withoutLiveAlerts(text: string): Promise<string> {
    const live = new Set(await this.alerts.live());
    const own = settingsRegistry.alert.type.parse(text)!.filter((line) => !live.has(line));
    return settingsRegistry.alert.type.format(own);
  }

  private texts(): Promise<Texts> {
    return this.cache.get('all', async () => {
      const rows = await this.dataSource.getRepository(Setting).find();
      return new Map(rows.map((row) => [row.key, this.textOf(row)]));
    });
  }

  private textOf(row: Setting): string {
    return row.sealed ? this.secretBox.open(SETTING_LABEL, row.sealed) : (row.value ?? '');
  }

  /** One writer at a time; what is stored already is no change. */
  private async write(
    values: Partial<Record<SettingKey, string | null>>,
    tx: EntityManager,
    options: { onlyMissing?: boolean } = {},
  ): Promise<SettingChange[]> {
    const wanted = Object.entries(values) as [SettingKey, string | null][];
    const texts = wanted.map(([key, text]) => [key, text === null ? null : this.canonical(key, text)] as const);
    await tx.query('LOCK TABLE settings IN SHARE ROW EXCLUSIVE MODE');
    const rows = await tx.find(Setting);
    const stored = new Map(rows.map((row) => [row.key, this.textOf(row)]));
    const changes: SettingChange[] = [];
    for (const [key, after] of texts) {
      const before = stored.get(key) ?? null;
      if (before === after || (options.onlyMissing && before !== null)) continue;
      if (after === null) await tx.delete(Setting, { key });
      else await tx.upsert(Setting, this.rowOf(key, after), ['key']);
      changes.push({ key, before, after });
    }
    if (changes.length > 0) {
      const payload = { from: this.processId, keys: changes.map((change) => change.key) };
      await this.notifications.notify(CHANNEL, payload, tx);
    }
    return changes;
  }

  private rowOf(key: SettingKey, text: string): Setting {
    return definitionOf(key).secret
      ? { key, value: null, sealed: this.secretBox.seal(SETTING_LABEL, text) }
      : { key, value: text, sealed: null };
  }

  private async afterCommit(changes: readonly SettingChange[]): Promise<void> {
    if (changes.length === 0) return;
    this.cache.clear();
    try {
      await this.tell(changes.map((change) => change.key));
    } catch (error) {
      await this.takeBack(changes);
      throw error;
    }
  }

  /** Puts back what nobody has changed since, and has it applied again as well as that goes. */
  private async takeBack(changes: readonly SettingChange[]): Promise<void> {
    const undone = await this.dataSource.transaction(async (tx) => {
      await tx.query('LOCK TABLE settings IN SHARE ROW EXCLUSIVE MODE');
      const rows = await tx.find(Setting);
      const stored = new Map(rows.map((row) => [row.key, this.textOf(row)]));
      const ours = changes.filter((change) => (stored.get(change.key) ?? null) === change.after);
      const before = Object.fromEntries(ours.map((change) => [change.key, change.before]));
      const written = await this.write(before, tx);
      for (const change of written) await this.recordChange(change, tx, 'setting_taken_back');
      return written;
    });
    this.cache.clear();
    await this.tell(undone.map((change) => change.key)).catch((error: unknown) => {
      this.log.warn('a setting was taken back but could not be applied', { error: String(error) });
    });
  }

  private async changedElsewhere(payload: unknown): Promise<void> {
    this.cache.clear();
    const { from, keys } = payload as { from?: unknown; keys?: unknown };
    if (from === this.processId || !Array.isArray(keys)) return;
    const known = keys.filter((key): key is SettingKey => typeof key === 'string' && settingKey(key) === key);
    await this.tell(known).catch((error: unknown) => {
      this.log.warn('a setting that another process changed could not be applied', { keys, error: String(error) });
    });
  }

  /** Calls all listeners, even after one failed, and then throws the first failure. */
  private async tell(keys: readonly SettingKey[]): Promise<void> {
    const failures: unknown[] = [];
    for (const { keys: wanted, listener } of this.listeners) {
      const changed = keys.filter((key) => wanted.has(key));
      if (changed.length === 0) continue;
      try {
        await listener(changed);
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  }

  private recordChange(change: SettingChange, tx: EntityManager, action = 'setting_changed'): Promise<void> {
    const { key } = change;
    const mask = (text: string | null) => (text !== null && definitionOf(key).secret ? MASK : text);
    const undone = action === 'setting_taken_back';
    return this.events.record(
      {
        type: 'SETTINGS',
        severity: undone ? 'WARN' : 'INFO',
        service: 'settings',
        action,
        target: key,
        message: undone ? `Setting ${key} could not be applied and was put back` : `Setting ${key} was changed`,
        details: { before: mask(change.before), after: mask(change.after) },
      },
      tx,
    );
  }
}

/** Settings whose value is not in our table. */
const ownedElsewhere: ReadonlySet<SettingKey> = new Set(['admin', 'api_tokens', 'bandwidth', 'uptime']);

function definitionOf(key: SettingKey): SettingDefinition<unknown> {
  return settingsRegistry[key];
}

function fallbackOf(key: SettingKey, config: Config): string {
  const { fallback, type } = definitionOf(key);
  const text = typeof fallback === 'string' ? fallback : fallback(config);
  if (type.parse(text) === undefined) throw new Error(`The default of setting ${key} must be ${type.expects}`);
  return text;
}
