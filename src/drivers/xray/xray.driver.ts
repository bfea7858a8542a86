import { Injectable, type OnModuleDestroy } from '@nestjs/common';
import {
  type EngineChange,
  type EngineSpec,
  type EngineStatus,
  type OnlineUser,
  type ProxyCapability,
  ProxyEnginePort,
  ProxyRefusedError,
  ProxyUnavailableError,
  type ProxyUserSpec,
  type RealityKeys,
  type UsageReading,
} from '../../domain/xray/proxy-engine.port.js';
import { Config } from '../../platform/config/config.js';
import { generateKeyPair } from '../../platform/crypto/x25519.js';
import { cutConnections } from './connection.cutter.js';
import { lackOf } from './engine.capability.js';
import { ExternalEngine } from './external.engine.js';
import { ManagedEngine } from './managed.engine.js';
import type { ProxyEngine } from './proxy.engine.js';

const OFF = 'The proxy engine is switched off by the setting XRAY=off';

/** Xray or V2Ray, run by this server or reached at XRAY_API. */
@Injectable()
export class XrayDriver extends ProxyEnginePort implements OnModuleDestroy {
  /** Null: switched off. */
  private readonly engine: ProxyEngine | null;
  /** The last work on the engine; the next begins after it. */
  private turn: Promise<unknown> = Promise.resolve();

  constructor(config: Config) {
    super();
    if (config.xray === 'off') this.engine = null;
    else if (config.xrayApi !== null) this.engine = new ExternalEngine(config.dataDir, config.xrayApi);
    else this.engine = new ManagedEngine(config.dataDir, config.xrayBin, (work) => this.inTurn(work));
  }

  /** The engine goes on running; its file says what it has. */
  async onModuleDestroy(): Promise<void> {
    await this.inTurn(async () => this.engine?.flush()).catch(() => {});
  }

  async capability(): Promise<ProxyCapability> {
    return this.engine === null ? lackOf(OFF, 'Remove XRAY=off and restart') : this.engine.capability();
  }

  async ensureEngine(spec: EngineSpec): Promise<EngineChange> {
    return this.inTurn(() => this.on().ensure(spec, false));
  }

  async addUsers(tag: string, users: readonly ProxyUserSpec[]): Promise<void> {
    if (users.length > 0) await this.inTurn(() => this.on().addUsers(tag, users));
  }

  async removeUsers(tag: string, ids: readonly string[]): Promise<void> {
    if (ids.length > 0) await this.inTurn(() => this.on().removeUsers(tag, ids));
  }

  async readUsage(): Promise<UsageReading> {
    return this.on().readUsage();
  }

  async readOnline(): Promise<OnlineUser[] | null> {
    return this.on().readOnline();
  }

  async cutOff(addresses: readonly string[]): Promise<boolean> {
    return addresses.length === 0 || cutConnections(await this.on().ports(), addresses);
  }

  async restart(spec: EngineSpec): Promise<void> {
    await this.inTurn(() => this.on().ensure(spec, true));
  }

  async stop(): Promise<void> {
    await this.inTurn(() => this.on().stop());
  }

  async status(): Promise<EngineStatus> {
    if (this.engine !== null) return this.engine.status();
    const none = { family: null, version: null, external: false, pid: null, uptimeSeconds: null };
    return { ...none, state: 'stopped', message: OFF };
  }

  async readConfig(): Promise<Record<string, unknown> | null> {
    return this.engine === null ? null : this.engine.readConfig();
  }

  generateRealityKeys(): RealityKeys {
    const { privateKey, publicKey } = generateKeyPair();
    const bare = (key: string): string => Buffer.from(key, 'base64').toString('base64url');
    return { privateKey: bare(privateKey), publicKey: bare(publicKey) };
  }

  private on(): ProxyEngine {
    if (this.engine === null) throw new ProxyUnavailableError(OFF);
    return this.engine;
  }

  /** Two callers at once wait for each other. Errors of the system become those of the port. */
  private inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.turn.then(work, work);
    this.turn = turn;
    return turn.catch((error: NodeJS.ErrnoException) => {
      if (error instanceof ProxyRefusedError || error instanceof ProxyUnavailableError) throw error;
      if (error.code === undefined) throw error;
      throw new ProxyUnavailableError(`The files of the engine cannot be written: ${error.code}`, { cause: error });
    });
  }
}
