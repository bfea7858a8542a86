import type {
  EngineChange,
  EngineSpec,
  EngineStatus,
  OnlineUser,
  ProxyCapability,
  ProxyUserSpec,
  UsageReading,
} from '../../domain/xray/proxy-engine.port.js';

/** One way to have an engine. Methods that change anything are called one at a time; see ProxyEnginePort. */
export interface ProxyEngine {
  capability(): Promise<ProxyCapability>;
  ensure(spec: EngineSpec, anew: boolean): Promise<EngineChange>;
  addUsers(tag: string, users: readonly ProxyUserSpec[]): Promise<void>;
  removeUsers(tag: string, ids: readonly string[]): Promise<void>;
  readUsage(): Promise<UsageReading>;
  readOnline(): Promise<OnlineUser[] | null>;
  /** Ports that clients come in by; none when that is not known. */
  ports(): Promise<number[]>;
  stop(): Promise<void>;
  status(): Promise<EngineStatus>;
  readConfig(): Promise<Record<string, unknown> | null>;
  /** Writes down what only memory holds. */
  flush(): Promise<void>;
}
