import { Injectable } from '@nestjs/common';
import { InjectDataSource } from '@nestjs/typeorm';
import { DataSource, type EntityManager } from 'typeorm';
import { EventsService } from '../events/events.service.js';
import { deepMerge } from './deep-merge.js';
import { XrayInboundsService, type XrayInboundChange, type XrayInboundView } from './xray-inbounds.service.js';
import { XraySettings } from './xray-settings.entity.js';
import { xraySettingInvalid } from './xray.errors.js';

const ROW_ID = 1;
const MOST_UI_CHARACTERS = 64 * 1024;
const MOST_UI_DEPTH = 16;

export interface XraySettingsView {
  /** The front end's own document, as it was merged together. */
  ui: Record<string, unknown>;
  /** Null until there is an inbound. */
  xray: XrayInboundView | null;
  collector: CollectorSettings;
}

export interface CollectorSettings {
  enabled: boolean;
  /** Kept as text, never run. */
  script: string;
}

/** What may change; what is absent stays. */
export interface XraySettingsChange {
  /** Merged deeply into what is there; at most 64 KiB together. */
  ui?: Record<string, unknown> | undefined;
  xray?: XrayInboundChange | undefined;
  collector?: Partial<CollectorSettings> | undefined;
}

/** The settings of the Xray dashboard. */
@Injectable()
export class XraySettingsService {
  constructor(
    @InjectDataSource() private readonly dataSource: DataSource,
    private readonly inbounds: XrayInboundsService,
    private readonly events: EventsService,
  ) {}

  async read(): Promise<XraySettingsView> {
    const [row, xray] = await Promise.all([this.row(), this.inbounds.find()]);
    return { ui: row.ui, xray, collector: { enabled: row.collectorEnabled, script: row.collectorScript } };
  }

  async collector(): Promise<CollectorSettings> {
    const row = await this.row();
    return { enabled: row.collectorEnabled, script: row.collectorScript };
  }

  /**
   * Changes all that is given, or nothing. The inbound is in effect when this returns. Errors: `xray_setting_invalid`,
   * and those of XrayInboundsService.update.
   */
  async update(change: XraySettingsChange): Promise<void> {
    const { ui, xray, collector } = change;
    if (collector?.script !== undefined) checkScript(collector.script);
    if (ui !== undefined) checkDepth(ui);
    // What can be refused comes first; the rest is checked here and cannot.
    if (ui !== undefined) this.merged((await this.row()).ui, ui);
    if (xray !== undefined && Object.values(xray).some((value) => value !== undefined))
      await this.inbounds.update(xray);
    if (ui === undefined && collector === undefined) return;
    await this.dataSource.transaction(async (tx) => {
      const before = await this.lockedRow(tx);
      const after = {
        ui: ui === undefined ? before.ui : this.merged(before.ui, ui),
        collectorEnabled: collector?.enabled ?? before.collectorEnabled,
        collectorScript: collector?.script ?? before.collectorScript,
      };
      await tx.update(XraySettings, { id: ROW_ID }, after as object);
      await this.events.record(
        {
          type: collector === undefined ? 'SETTINGS' : 'COLLECTOR',
          service: 'xray',
          action: collector === undefined ? 'settings_changed' : 'collector_changed',
          message: collector === undefined ? 'Settings of the dashboard were changed' : 'The collector was changed',
          details: {
            ...(ui === undefined ? {} : { ui: Object.keys(ui) }),
            ...(collector === undefined ? {} : { collector: { ...collector } }),
          },
        },
        tx,
      );
    });
  }

  private merged(base: Record<string, unknown>, change: Record<string, unknown>): Record<string, unknown> {
    const merged = deepMerge(base, change);
    const text = JSON.stringify(merged);
    // Postgres keeps no NUL, nor half of a surrogate pair.
    if (/\\u0000|\\ud[89a-f][0-9a-f]{2}/i.test(text)) throw xraySettingInvalid('ui', 'has characters that no text has');
    if (text.length > MOST_UI_CHARACTERS) throw xraySettingInvalid('ui', 'must have at most 64 KiB together');
    return merged;
  }

  private async row(): Promise<XraySettings> {
    return this.dataSource.getRepository(XraySettings).findOneByOrFail({ id: ROW_ID });
  }

  private lockedRow(tx: EntityManager): Promise<XraySettings> {
    return tx.findOneOrFail(XraySettings, { where: { id: ROW_ID }, lock: { mode: 'pessimistic_write' } });
  }
}

function checkScript(script: string): void {
  if (script.length > 255 || /[\p{Cc}\p{Cs}]/u.test(script)) {
    throw xraySettingInvalid('script', 'must have at most 255 characters and no control characters');
  }
}

function checkDepth(value: unknown, depth = 0): void {
  if (typeof value !== 'object' || value === null) return;
  if (depth >= MOST_UI_DEPTH) throw xraySettingInvalid('ui', `must be at most ${MOST_UI_DEPTH} levels deep`);
  for (const inner of Object.values(value)) checkDepth(inner, depth + 1);
}
