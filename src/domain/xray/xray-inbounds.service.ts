import { createPrivateKey, randomBytes, X509Certificate } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { InjectDataSource, InjectRepository } from '@nestjs/typeorm';
import { DataSource, type EntityManager, Repository } from 'typeorm';
import { FreshCache } from '../../platform/cache/fresh-cache.js';
import { Clock } from '../../platform/clock/clock.js';
import { SecretBox } from '../../platform/crypto/secret-box.js';
import { engineBusy, engineRefused } from '../engines/engines.errors.js';
import { EnginesService } from '../engines/engines.service.js';
import { EventsService } from '../events/events.service.js';
import { ProxyEnginePort, type ProxyCapability } from './proxy-engine.port.js';
import { XRAY_ENGINE, XRAY_INBOUND_KEY } from './xray-engine-keys.js';
import { XrayInbound } from './xray-inbound.entity.js';
import { checkedInbound, defaultInbound, unfitFor, type XrayInboundValues } from './xray-inbound.rules.js';
import { xrayInboundMissing, xrayRealityMissing, xraySettingInvalid } from './xray.errors.js';

/** Labels that the inbound's keys are sealed under. */
export const REALITY_KEY_LABEL = 'xray-reality-key';
export const TLS_KEY_LABEL = 'xray-tls-key';

const ROW_ID = 1;
const CAPABILITY_CACHE = { maxAgeMs: 2_000, maxEntries: 1 };

/** The one way in for clients as an operator sees it. Private keys are not in it. */
export interface XrayInboundView extends XrayInboundValues {
  realityPublicKey: string;
  /** A certificate and its key are stored, as text. */
  hasCertificate: boolean;
}

/** What may change; what is absent stays. Texts are checked here. */
export interface XrayInboundChange extends Partial<XrayInboundValues> {
  /** PEM text of chain and key; both or none. The key never leaves again. Empty texts take them away. */
  certificatePem?: string | undefined;
  keyPem?: string | undefined;
}

/** What a client of reality must know. */
export interface RealityView {
  port: number;
  publicKey: string;
  sni: string;
  shortId: string;
  fingerprint: string;
  dest: string;
  flow: string;
}

/** The inbound: what the engine listens on, and what links say of it. */
@Injectable()
export class XrayInboundsService {
  private readonly capabilities: FreshCache<ProxyCapability>;

  constructor(
    @InjectDataSource() private readonly dataSource: DataSource,
    @InjectRepository(XrayInbound) private readonly repository: Repository<XrayInbound>,
    private readonly engines: EnginesService,
    private readonly events: EventsService,
    private readonly port: ProxyEnginePort,
    private readonly secrets: SecretBox,
    clock: Clock,
  ) {
    this.capabilities = new FreshCache(clock, CAPABILITY_CACHE);
  }

  /** Null until there is a first user, or somebody sets it: nothing listens before. */
  async find(): Promise<XrayInboundView | null> {
    const row = await this.repository.findOneBy({ id: ROW_ID });
    return row && toView(row);
  }

  /** The flow that users of the inbound have; empty for none. */
  async flow(): Promise<string> {
    return (await this.find())?.flow ?? '';
  }

  /** What `xray/reality` shows; `xray_inbound_missing`, `xray_reality_missing`. */
  async reality(): Promise<RealityView> {
    const inbound = await this.find();
    if (!inbound) throw xrayInboundMissing();
    if (inbound.security !== 'reality') {
      throw xrayRealityMissing(`The inbound has security ${inbound.security}, so there is no reality`);
    }
    return {
      port: inbound.serverPort,
      publicKey: inbound.realityPublicKey,
      sni: inbound.sni,
      shortId: inbound.sid,
      fingerprint: inbound.fp,
      dest: inbound.dest,
      flow: inbound.flow,
    };
  }

  /** What the engine at hand can do, asked of the process that drives it. `engine_unavailable`. */
  async capability(): Promise<ProxyCapability> {
    return this.capabilities.get('capability', async () => {
      await this.engines.whenStarted(XRAY_ENGINE);
      return (await this.engines.command(XRAY_ENGINE, 'capability')) as ProxyCapability;
    });
  }

  /** Makes the inbound as the engine at hand can best do it, unless there is one. `engine_unavailable`. */
  async ensure(): Promise<void> {
    if (await this.repository.existsBy({ id: ROW_ID })) return;
    const fresh = await this.fresh();
    await this.dataSource.transaction(async (tx) => {
      if (await this.insert(fresh, tx)) await this.record('inbound_created', 'The inbound was made', fresh, tx);
    });
  }

  /**
   * Changes the inbound, or makes it; it is in effect when this returns. Errors: `xray_setting_invalid`,
   * `engine_refused` with what this engine cannot do, `engine_unavailable`; after an error all is as it was.
   */
  async update(change: XrayInboundChange): Promise<XrayInboundView> {
    await this.engines.whenStarted(XRAY_ENGINE);
    // An engine that is down may be so because of the inbound: then changing it is what mends it.
    if ((await this.engines.healthOf(XRAY_ENGINE)).state === 'absent') await this.engines.assertUp(XRAY_ENGINE);
    const capability = await this.capability();
    const fresh = await this.fresh(capability);
    const { before, after } = await this.dataSource.transaction(async (tx) => {
      const existing = await tx.findOne(XrayInbound, { where: { id: ROW_ID }, lock: { mode: 'pessimistic_write' } });
      const row = existing ?? fresh;
      const next = this.changed(row, change);
      const unfit = unfitFor(capability, next);
      if (unfit !== null) throw engineRefused(XRAY_ENGINE, unfit);
      if (existing) await tx.update(XrayInbound, { id: ROW_ID }, next);
      else if (!(await this.insert(next, tx))) throw engineBusy(XRAY_ENGINE, 'settings');
      await tx.query('UPDATE xray_inbounds SET revision = revision + 1 WHERE id = $1', [ROW_ID]);
      await this.record('inbound_changed', 'The inbound was changed', next, tx, existing);
      return { before: existing, after: await tx.findOneByOrFail(XrayInbound, { id: ROW_ID }) };
    });
    try {
      await this.engines.apply(XRAY_ENGINE, XRAY_INBOUND_KEY);
    } catch (error) {
      await this.takeBack(before, after);
      throw error;
    }
    return toView(after);
  }

  private changed(row: XrayInbound, change: XrayInboundChange): XrayInbound {
    const { certificatePem, keyPem, ...values } = change;
    const given = Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
    const checked = checkedInbound({ ...valuesOf(row), ...given });
    const next: XrayInbound = { ...row, ...checked };
    if ((certificatePem === undefined) !== (keyPem === undefined)) {
      throw xraySettingInvalid('certificate', 'and key are given together');
    }
    if (certificatePem !== undefined && keyPem !== undefined) {
      if (certificatePem !== '' || keyPem !== '') checkCertificate(certificatePem, keyPem);
      next.certificatePem = certificatePem;
      next.keyPem = keyPem === '' ? null : this.secrets.seal(TLS_KEY_LABEL, keyPem);
    }
    if (next.security === 'tls' && next.certificateFile === '' && next.keyPem === null) {
      throw xraySettingInvalid('security', 'tls needs a certificate: certificate_file and key_file, or their text');
    }
    return next;
  }

  private async fresh(capability?: ProxyCapability): Promise<XrayInbound> {
    const values = defaultInbound(capability ?? (await this.capability()), randomBytes(8).toString('hex'));
    const keys = this.port.generateRealityKeys();
    return {
      id: ROW_ID,
      ...values,
      realityPrivateKey: this.secrets.seal(REALITY_KEY_LABEL, keys.privateKey),
      realityPublicKey: keys.publicKey,
      certificatePem: '',
      keyPem: null,
      revision: 0,
    };
  }

  /** False: somebody else made it in this moment. */
  private async insert(row: XrayInbound, tx: EntityManager): Promise<boolean> {
    const done = await tx
      .createQueryBuilder()
      .insert()
      .into(XrayInbound)
      .values(row)
      .orIgnore()
      .returning('id')
      .execute();
    return (done.raw as unknown[]).length > 0;
  }

  private async takeBack(before: XrayInbound | null, after: XrayInbound): Promise<void> {
    await this.dataSource.transaction(async (tx) => {
      // Somebody may have changed it again since; their word is the newer one.
      const where = { id: ROW_ID, revision: after.revision };
      const done = before
        ? await tx.update(XrayInbound, where, { ...before, revision: after.revision + 1 })
        : await tx.delete(XrayInbound, where);
      if (!done.affected) return;
      const message = 'The inbound was put back: the engine did not take the change';
      await this.record('inbound_taken_back', message, before ?? after, tx);
    });
    this.engines.applySoon(XRAY_ENGINE, XRAY_INBOUND_KEY);
  }

  private record(
    action: string,
    message: string,
    after: XrayInbound,
    tx: EntityManager,
    before: XrayInbound | null = null,
  ): Promise<void> {
    const details = { ...(before ? { before: valuesOf(before) } : {}), after: valuesOf(after) };
    return this.events.record(
      { type: 'SETTINGS', service: 'xray', action, target: after.inboundTag, message, details },
      tx,
    );
  }
}

function valuesOf(row: XrayInbound): XrayInboundValues {
  return {
    serverHost: row.serverHost,
    serverPort: row.serverPort,
    inboundTag: row.inboundTag,
    protocol: row.protocol,
    network: row.network,
    path: row.path,
    security: row.security,
    sni: row.sni,
    fp: row.fp,
    flow: row.flow,
    sid: row.sid,
    dest: row.dest,
    certificateFile: row.certificateFile,
    keyFile: row.keyFile,
    restartToCut: row.restartToCut,
  };
}

function toView(row: XrayInbound): XrayInboundView {
  return { ...valuesOf(row), realityPublicKey: row.realityPublicKey, hasCertificate: row.keyPem !== null };
}

function checkCertificate(certificatePem: string, keyPem: string): void {
  const tooLong = certificatePem.length > 65_536 || keyPem.length > 16_384;
  try {
    if (tooLong || !new X509Certificate(certificatePem).checkPrivateKey(createPrivateKey(keyPem))) throw new Error();
  } catch {
    throw xraySettingInvalid('certificate', 'must be a chain in PEM, and key its private key');
  }
}
