import { constants } from 'node:fs';
import { access, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Logger } from '@nestjs/common';
import {
  type EngineChange,
  type EngineSpec,
  type EngineStatus,
  type InboundSpec,
  type OnlineUser,
  type ProxyCapability,
  type ProxyProtocol,
  ProxyRefusedError,
  ProxyUnavailableError,
  type ProxyUserSpec,
  type UsageReading,
} from '../../domain/xray/proxy-engine.port.js';
import { epochOf } from '../host/epoch.js';
import { tcpListeners } from '../host/listening.sockets.js';
import { bootId, isAlive } from '../host/process.identity.js';
import { writeText } from '../host/state.file.js';
import { AppliedUsers } from './applied.users.js';
import { ApiAbsentError, ApiSilentError, EngineApi } from './engine.api.js';
import {
  type EngineConfig,
  masked,
  parseConfig,
  portsOf,
  renderConfig,
  structureOf,
  usersOf,
  withUsers,
  withoutStrangers,
} from './engine.config.js';
import { EngineProcess, type RunningEngine } from './engine.process.js';
import { assertCertificate } from './engine.certificate.js';
import { type EngineProgram, checkConfig, findEngine } from './engine.program.js';
import { capabilityOf, lackOf } from './engine.capability.js';
import { assertSpec, assertUserId, assertUsers } from './engine.rules.js';
import type { ProxyEngine } from './proxy.engine.js';

const PROBE_TIMEOUT_MS = 2_000;
const HANGS_AFTER_MS = 10_000;
/** Changes of users reach the file this long after the first of them: a burst is written once. */
const WRITE_AFTER_MS = 1_000;

/** An engine that runs and what we know of it. */
interface Adopted {
  engine: RunningEngine;
  api: EngineApi;
  /** Its config without regard to users, who are in `users`. */
  config: EngineConfig;
  users: AppliedUsers;
}

/** An engine that this server starts: a detached process with a config file of ours. */
export class ManagedEngine implements ProxyEngine {
  private readonly logger = new Logger('XrayDriver');
  private readonly folder: string;
  private readonly process: EngineProcess;
  private readonly lastGoodPath: string;
  private readonly journalPath: string;
  private program: EngineProgram | null = null;
  private adopted: Adopted | null = null;
  private client: { engine: RunningEngine; api: EngineApi } | null = null;
  /** What the config file should hold; null until it was read or written. */
  private written: string | null = null;
  private changed = false;
  private writeTimer: NodeJS.Timeout | null = null;
  /** Since when the process has not answered, in ms of the monotonic clock. */
  private silentSince: number | null = null;

  /** `whenIdle` runs work while no other work on the engine is under way. */
  constructor(
    dataDir: string,
    private readonly programSetting: string | null,
    private readonly whenIdle: (work: () => Promise<void>) => Promise<void>,
  ) {
    this.folder = join(dataDir, 'xray');
    this.process = new EngineProcess(this.folder);
    this.lastGoodPath = join(this.folder, 'last-good.json');
    this.journalPath = join(this.folder, 'changes.log');
  }

  async capability(): Promise<ProxyCapability> {
    if (!this.process.socketPathFits) {
      return lackOf('The path of DATA_DIR is too long for the socket of an engine', 'Choose a shorter DATA_DIR');
    }
    if (this.program !== null && !(await mayRun(this.program.path))) this.program = null;
    this.program ??= await findEngine(this.programSetting);
    if (this.program !== null) return capabilityOf(this.program.family, this.program.version);
    if (this.programSetting !== null) {
      return lackOf('The program that XRAY_BIN names is no Xray or V2Ray that can be run', 'Correct XRAY_BIN');
    }
    return lackOf('Neither xray nor v2ray is installed', 'apt-get install -y --no-install-recommends v2ray');
  }

  async ensure(wanted: EngineSpec, anew: boolean): Promise<EngineChange> {
    const capability = await this.capability();
    const program = this.program;
    if (capability.family === null || program === null) {
      throw new ProxyUnavailableError(`${capability.message}: ${capability.hint}`);
    }
    assertSpec(wanted, capability);
    for (const { certificate } of wanted.inbounds) if (certificate !== null) await assertCertificate(certificate);
    const spec = await this.withUsableLog(wanted);
    const config = renderConfig(spec, program, this.process.socketPath);

    const engine = await this.process.find();
    if (engine !== null && !anew && (await this.answers(engine))) {
      const adopted = await this.adopt(engine);
      const same = adopted !== null && structureOf(adopted.config) === structureOf(config);
      if (same && !(await this.process.isElsewhere(engine))) {
        await this.matchUsers(adopted, spec.inbounds);
        return { restarted: false };
      }
    }
    await this.replace(program, config, engine);
    return { restarted: true };
  }

  async addUsers(tag: string, users: readonly ProxyUserSpec[]): Promise<void> {
    const adopted = await this.mustAdopt();
    const { protocol } = inboundOf(adopted.config, tag);
    assertUsers(inboundOf(adopted.config, tag), users, capabilityOf(adopted.engine.family, adopted.engine.version));
    const { api } = adopted;
    if (await this.watched(() => adopted.users.change(api, tag, protocol, users, []))) this.scheduleWrite();
  }

  async removeUsers(tag: string, ids: readonly string[]): Promise<void> {
    ids.forEach(assertUserId);
    const adopted = await this.mustAdopt();
    const { protocol } = inboundOf(adopted.config, tag);
    const { api } = adopted;
    if (await this.watched(() => adopted.users.change(api, tag, protocol, [], ids))) this.scheduleWrite();
  }

  async readUsage(): Promise<UsageReading> {
    await this.process.keepLogShort();
    const engine = await this.mustFind();
    const users = await this.watched(() => this.apiOf(engine).usage());
    // Counters under the epoch of another process would be booked twice.
    if (!(await isAlive(engine.process))) throw new ProxyUnavailableError('The engine ended while it was read');
    return { epoch: epochOf(await bootId(), engine.process.pid, engine.process.startTime), users };
  }

  async readOnline(): Promise<OnlineUser[] | null> {
    const engine = await this.mustFind();
    return this.watched(() => this.apiOf(engine).online());
  }

  async ports(): Promise<number[]> {
    const config = this.adopted?.config ?? (await this.readFiles());
    return config === null ? [] : portsOf(config);
  }

  async stop(): Promise<void> {
    const engine = await this.process.find();
    if (engine !== null) {
      await this.flush().catch(() => {});
      await this.process.end(engine.process, false);
    }
    await this.process.forget();
    this.letGo();
  }

  async status(): Promise<EngineStatus> {
    const engine = await this.process.find();
    if (engine === null) {
      const { family, version, message } = await this.capability();
      const reason = family === null ? message : 'The engine does not run';
      return { state: 'stopped', family, version, external: false, pid: null, uptimeSeconds: null, message: reason };
    }
    const { family, version } = engine;
    const known = { family, version, external: false, pid: engine.process.pid };
    try {
      const uptimeSeconds = await this.watched(() => this.apiOf(engine).uptimeSeconds(PROBE_TIMEOUT_MS));
      return { ...known, state: 'running', uptimeSeconds, message: 'The engine runs' };
    } catch (error) {
      return { ...known, state: 'hung', uptimeSeconds: null, message: (error as Error).message };
    }
  }

  async readConfig(): Promise<Record<string, unknown> | null> {
    const config = this.adopted === null ? await this.readFiles() : this.currentConfig(this.adopted);
    return config === null ? null : (masked(config) as Record<string, unknown>);
  }

  /** Makes config file and last good one say what the engine has. */
  async flush(): Promise<void> {
    if (this.writeTimer !== null) clearTimeout(this.writeTimer);
    this.writeTimer = null;
    const { adopted } = this;
    if (adopted === null) return;
    const onDisk = await readFile(this.process.configPath, 'utf8').catch(() => null);
    if (!this.changed && onDisk !== null && onDisk === this.written) return;
    if (onDisk !== this.written && this.written !== null) {
      this.logger.warn('The config file was changed by somebody else and is written anew');
    }
    await this.writeConfig(this.currentConfig(adopted));
    await adopted.users.written();
  }

  /** The users of a running engine and its files become those of the spec. */
  private async matchUsers(adopted: Adopted, inbounds: readonly InboundSpec[]): Promise<void> {
    try {
      for (const { tag, protocol, users } of inbounds) {
        const { api } = adopted;
        if (await this.watched(() => adopted.users.replace(api, tag, protocol, users))) this.changed = true;
      }
    } finally {
      await this.flush();
    }
  }

  /** Another config takes another process. Throws ProxyRefusedError; what served before then serves again. */
  private async replace(program: EngineProgram, config: EngineConfig, old: RunningEngine | null): Promise<void> {
    await mkdir(this.folder, { recursive: true, mode: 0o700 });
    const draftPath = join(this.folder, 'config.draft.json');
    await writeText(draftPath, textOf(config));
    try {
      await checkConfig(program, draftPath);
      if (old !== null) {
        await this.assertPortsFree(config, old);
        await this.flush();
        await this.process.end(old.process, this.silentSince !== null);
      }
      this.letGo();
      await rename(draftPath, this.process.configPath);
    } finally {
      await rm(draftPath, { force: true });
    }
    try {
      await this.start(program, config);
    } catch (error) {
      await this.putBack(program, config, error as Error);
      throw error;
    }
  }

  private async start(program: EngineProgram, config: EngineConfig): Promise<void> {
    this.logger.log(`Starting ${program.family} ${program.version}`);
    const engine = await this.process.start(program, portsOf(config));
    await this.writeConfig(config);
    const users = await AppliedUsers.fresh(this.journalPath, usersOf(config));
    this.adopted = { engine, api: this.apiOf(engine), config, users };
    this.silentSince = null;
  }

  /** Starts the last config that worked, without users who may not connect any more. */
  private async putBack(program: EngineProgram, failed: EngineConfig, reason: Error): Promise<void> {
    const good = parseConfig(await readFile(this.lastGoodPath, 'utf8').catch(() => ''));
    if (good === null || structureOf(good) === structureOf(failed)) return;
    this.logger.error(`A new config does not start (${reason.message}): the last good one is put back`);
    const config = withoutStrangers(good, failed);
    try {
      await writeText(this.process.configPath, textOf(config));
      await this.start(program, config);
    } catch (error) {
      this.logger.error(`The last good config does not start either: ${(error as Error).message}`);
    }
  }

  /** A port that is taken is found before anybody is cut off. */
  private async assertPortsFree(config: EngineConfig, old: RunningEngine): Promise<void> {
    const present = (await this.adopt(old))?.config ?? null;
    const own = new Set(present === null ? portsOf(config) : portsOf(present));
    for (const port of portsOf(config)) {
      if (!own.has(port) && (await tcpListeners(port)).size > 0) {
        throw new ProxyRefusedError(`The port ${port} is in use`);
      }
    }
  }

  /** False when it has been silent for long enough to be killed. Throws when it is silent, but not yet for long. */
  private async answers(engine: RunningEngine): Promise<boolean> {
    try {
      await this.watched(() => this.apiOf(engine).uptimeSeconds(PROBE_TIMEOUT_MS));
      return true;
    } catch (error) {
      if (this.silentSince === null || performance.now() - this.silentSince < HANGS_AFTER_MS) throw error;
      this.logger.error('The engine has not answered for long; it is killed and started anew');
      return false;
    }
  }

  /** What is known of a running engine; null when its files do not tell which users it has. */
  private async adopt(engine: RunningEngine): Promise<Adopted | null> {
    const { adopted } = this;
    if (adopted !== null && isSame(adopted.engine, engine)) return adopted;
    this.letGo();
    const config = await this.readFiles();
    if (config === null) return null;
    const users = await AppliedUsers.found(this.journalPath, usersOf(config));
    this.logger.log(`Found the engine running (pid ${engine.process.pid})`);
    return (this.adopted = { engine, api: this.apiOf(engine), config, users });
  }

  private async mustAdopt(): Promise<Adopted> {
    const adopted = await this.adopt(await this.mustFind());
    if (adopted === null) throw new ProxyUnavailableError('The config file of the engine was lost');
    return adopted;
  }

  private async mustFind(): Promise<RunningEngine> {
    const engine = await this.process.find();
    if (engine === null) throw new ProxyUnavailableError('The engine does not run');
    return engine;
  }

  private apiOf(engine: RunningEngine): EngineApi {
    if (this.client !== null && isSame(this.client.engine, engine)) return this.client.api;
    this.client?.api.close();
    this.client = { engine, api: new EngineApi(this.process.target, engine.family) };
    return this.client.api;
  }

  private letGo(): void {
    this.client?.api.close();
    this.client = null;
    this.adopted = null;
    this.written = null;
    this.changed = false;
    this.silentSince = null;
  }

  private async watched<T>(work: () => Promise<T>): Promise<T> {
    const begun = performance.now();
    try {
      const result = await work();
      this.silentSince = null;
      return result;
    } catch (error) {
      if (error instanceof ApiSilentError || error instanceof ApiAbsentError) this.silentSince ??= begun;
      throw error;
    }
  }

  private currentConfig(adopted: Adopted): EngineConfig {
    return withUsers(adopted.config, adopted.users.snapshot());
  }

  /** The config as it was last written; the last good one when somebody spoilt it. */
  private async readFiles(): Promise<EngineConfig | null> {
    for (const path of [this.process.configPath, this.lastGoodPath]) {
      const config = parseConfig(await readFile(path, 'utf8').catch(() => ''));
      if (config !== null) return config;
    }
    return null;
  }

  private async writeConfig(config: EngineConfig): Promise<void> {
    const text = textOf(config);
    await writeText(this.process.configPath, text);
    await writeText(this.lastGoodPath, text);
    this.written = text;
    this.changed = false;
  }

  private scheduleWrite(): void {
    this.changed = true;
    this.writeTimer ??= setTimeout(() => {
      this.writeTimer = null;
      this.whenIdle(() => this.flush()).catch((error: Error) =>
        this.logger.warn(`The config file could not be written: ${error.message}`),
      );
    }, WRITE_AFTER_MS).unref();
  }

  /** An engine that cannot open its access log does not start: it then serves without one. */
  private async withUsableLog(spec: EngineSpec): Promise<EngineSpec> {
    const path = spec.accessLogPath;
    if (path === null) return spec;
    try {
      await mkdir(dirname(path), { recursive: true, mode: 0o700 });
      await writeFile(path, '', { flag: 'a', mode: 0o600 });
      return spec;
    } catch (error) {
      this.logger.warn(`The access log cannot be written (${(error as NodeJS.ErrnoException).code}): there is none`);
      return { ...spec, accessLogPath: null };
    }
  }
}

function isSame(one: RunningEngine, other: RunningEngine): boolean {
  return one.process.pid === other.process.pid && one.process.startTime === other.process.startTime;
}

function inboundOf(
  config: EngineConfig,
  tag: string,
): Pick<InboundSpec, 'tag' | 'network' | 'security'> & { protocol: ProxyProtocol } {
  const inbound = config.inbounds.find((candidate) => candidate.tag === tag);
  if (inbound?.settings.clients === undefined)
    throw new ProxyRefusedError(`The engine has no inbound ${tag.slice(0, 64)}`);
  const { network, security } = inbound.streamSettings as Pick<InboundSpec, 'network' | 'security'>;
  return { tag, protocol: inbound.protocol as ProxyProtocol, network, security };
}

const textOf = (config: EngineConfig): string => `${JSON.stringify(config, null, 1)}\n`;

function mayRun(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}
