import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import {
  type EngineChange,
  type EngineSpec,
  type EngineStatus,
  type InboundSpec,
  type OnlineUser,
  type ProxyCapability,
  type ProxyFamily,
  ProxyRefusedError,
  ProxyUnavailableError,
  type ProxyUserSpec,
  type UsageReading,
} from '../../domain/xray/proxy-engine.port.js';
import { epochOf } from '../host/epoch.js';
import { readState, writeState } from '../host/state.file.js';
import { AppliedUsers } from './applied.users.js';
import { ApiRefusedError, EngineApi } from './engine.api.js';
import { capabilityOf, lackOf } from './engine.capability.js';
import { assertSpec, assertUserId, assertUsers } from './engine.rules.js';
import type { ProxyEngine } from './proxy.engine.js';

const PROBE_TIMEOUT_MS = 3_000;
/** A start that seems to be later by this much is another one; less may be a clock that was set, or a host that slept. */
const START_TOLERANCE_SECONDS = 120;

/** What we know of the engine's present life. Kept as `DATA_DIR/xray/external-life.json`. */
interface LifeRecord {
  target: string;
  epoch: number;
  uptimeSeconds: number;
  /** Unix seconds, by this host's clock. */
  startedAt: number;
}

/** Who was put on the engine by us in that life by their ids. `DATA_DIR/xray/external-users.json`. */
interface UsersRecord {
  epoch: number;
  users: Record<string, string[]>;
}

/** A running engine of somebody else, at `host:port`. Its config is not ours: inbounds must be there already. */
export class ExternalEngine implements ProxyEngine {
  private readonly folder: string;
  private readonly target: string;
  private api: EngineApi | null = null;
  private applied: { epoch: number; users: AppliedUsers } | null = null;
  private readonly inbounds = new Map<string, InboundSpec>();

  constructor(dataDir: string, address: string) {
    this.folder = join(dataDir, 'xray');
    this.target = address;
  }

  async capability(): Promise<ProxyCapability> {
    try {
      const { family } = await this.connected();
      return capabilityOf(family, null, true);
    } catch (error) {
      return lackOf((error as Error).message, 'Start the engine that XRAY_API names, or correct XRAY_API', true);
    }
  }

  async ensure(spec: EngineSpec, anew: boolean): Promise<EngineChange> {
    if (anew) throw new ProxyRefusedError('The engine at XRAY_API is not ours to restart');
    const api = await this.connected();
    assertSpec(spec, capabilityOf(api.family, null, true));
    for (const inbound of spec.inbounds) await this.assertFits(api, inbound);
    const users = await this.usersOf(api);
    this.inbounds.clear();
    try {
      for (const inbound of spec.inbounds) {
        this.inbounds.set(inbound.tag, inbound);
        await users.replace(api, inbound.tag, inbound.protocol, inbound.users);
      }
    } finally {
      await this.flush();
    }
    return { restarted: false };
  }

  async addUsers(tag: string, users: readonly ProxyUserSpec[]): Promise<void> {
    const api = await this.connected();
    const inbound = this.inboundOf(tag);
    assertUsers(inbound, users, capabilityOf(api.family, null, true));
    await this.assertFits(api, inbound);
    await (await this.usersOf(api)).change(api, tag, inbound.protocol, users, []);
  }

  async removeUsers(tag: string, ids: readonly string[]): Promise<void> {
    ids.forEach(assertUserId);
    const api = await this.connected();
    const inbound = this.inboundOf(tag);
    await (await this.usersOf(api)).change(api, tag, inbound.protocol, [], ids);
  }

  async readUsage(): Promise<UsageReading> {
    const api = await this.connected();
    const before = await this.epoch(api);
    const users = await api.usage();
    if ((await this.epoch(api)) !== before)
      throw new ProxyUnavailableError('The engine was restarted while it was read');
    return { epoch: before, users };
  }

  async readOnline(): Promise<OnlineUser[] | null> {
    return (await this.connected()).online();
  }

  async ports(): Promise<number[]> {
    return [...this.inbounds.values()].map(({ port }) => port);
  }

  async stop(): Promise<void> {
    this.forget();
  }

  async status(): Promise<EngineStatus> {
    const known = { version: null, external: true, pid: null };
    try {
      const api = await this.connected();
      const uptimeSeconds = await api.uptimeSeconds();
      return { ...known, state: 'running', family: api.family, uptimeSeconds, message: 'The engine at XRAY_API runs' };
    } catch (error) {
      const message = (error as Error).message;
      return { ...known, state: 'stopped', family: this.api?.family ?? null, uptimeSeconds: null, message };
    }
  }

  async readConfig(): Promise<null> {
    return null;
  }

  async flush(): Promise<void> {
    if (this.applied === null) return;
    const { epoch, users } = this.applied;
    const record: UsersRecord = { epoch, users: {} };
    for (const [tag, ids] of users.snapshot()) record.users[tag] = [...ids.keys()];
    await writeState(this.usersPath, record);
    await users.written();
  }

  /** An account that does not fit its inbound would kill the engine: what cannot be known is refused. */
  private async assertFits(api: EngineApi, { tag, protocol }: InboundSpec): Promise<void> {
    const found = await api.protocolOf(tag);
    if (!found.known) {
      throw new ProxyRefusedError(
        'The engine at XRAY_API cannot say which protocol an inbound has, and a wrong account would end it: ' +
          'use Xray 25.6.8 or later there, or let this server run the engine',
      );
    }
    if (found.protocol === null) throw new ProxyRefusedError(`The engine at XRAY_API has no inbound ${tag} for users`);
    if (found.protocol !== protocol) {
      throw new ProxyRefusedError(`The inbound ${tag} of the engine at XRAY_API is ${found.protocol}, not ${protocol}`);
    }
  }

  private inboundOf(tag: string): InboundSpec {
    const inbound = this.inbounds.get(tag);
    if (inbound === undefined) throw new ProxyUnavailableError('The engine was not looked at yet');
    return inbound;
  }

  /** The API of an engine that answers, of the family that it is. */
  private async connected(): Promise<EngineApi> {
    if (this.api !== null) {
      await this.api.uptimeSeconds(PROBE_TIMEOUT_MS).catch((error: unknown) => {
        // It may come back as another, even of another family: users are then set anew.
        this.forget();
        throw error;
      });
      return this.api;
    }
    for (const family of ['xray', 'v2ray'] as ProxyFamily[]) {
      const api = new EngineApi(this.target, family);
      try {
        await api.uptimeSeconds(PROBE_TIMEOUT_MS);
        return (this.api = api);
      } catch (error) {
        api.close();
        if (!(error instanceof ApiRefusedError)) throw error;
      }
    }
    throw new ProxyUnavailableError('What answers at XRAY_API is no engine with a StatsService');
  }

  private forget(): void {
    this.api?.close();
    this.api = null;
    this.applied = null;
  }

  /** The users that we put there in the engine's present life. */
  private async usersOf(api: EngineApi): Promise<AppliedUsers> {
    const epoch = await this.epoch(api);
    if (this.applied?.epoch === epoch) return this.applied.users;
    const record = await readState<UsersRecord>(this.usersPath);
    const users =
      record?.epoch === epoch
        ? // Known to be there, with credentials that were not kept: they are set anew once.
          await AppliedUsers.found(this.journalPath, asUnknown(record.users ?? {}))
        : await AppliedUsers.fresh(this.journalPath, new Map());
    this.applied = { epoch, users };
    await this.flush();
    return users;
  }

  /**
   * A number for the engine's present life. It changes only for what is surely another life: a new epoch that is none
   * would have all traffic counted twice, and one that is missed shows in counters that went down.
   */
  private async epoch(api: EngineApi): Promise<number> {
    const uptimeSeconds = await api.uptimeSeconds();
    const startedAt = Math.round(Date.now() / 1_000) - uptimeSeconds;
    const path = join(this.folder, 'external-life.json');
    const known = await readState<LifeRecord>(path);
    const { target, epoch: last, uptimeSeconds: before, startedAt: startBefore } = known ?? {};
    const goesOn =
      target === this.target &&
      last !== undefined &&
      before !== undefined &&
      startBefore !== undefined &&
      uptimeSeconds >= before &&
      startedAt - startBefore <= START_TOLERANCE_SECONDS;
    const epoch = goesOn ? last : epochOf(this.target, startedAt, randomUUID());
    const life: LifeRecord = { target: this.target, epoch, uptimeSeconds, startedAt };
    await writeState(path, life);
    return epoch;
  }

  private get usersPath(): string {
    return join(this.folder, 'external-users.json');
  }

  private get journalPath(): string {
    return join(this.folder, 'external-changes.log');
  }
}

function asUnknown(users: Record<string, string[]>): Map<string, Map<string, string>> {
  return new Map(Object.entries(users).map(([tag, ids]) => [tag, new Map(ids.map((id) => [id, '']))]));
}
