export type ProxyFamily = 'xray' | 'v2ray';
export type ProxyProtocol = 'vless' | 'vmess' | 'trojan';
export type ProxyNetwork = 'tcp' | 'ws' | 'grpc' | 'xhttp' | 'httpupgrade';
export type ProxySecurity = 'none' | 'tls' | 'reality';
/** Empty: none. */
export type ProxyFlow = '' | 'xtls-rprx-vision';

/** Whether this host can have a proxy engine now, what it can do, and what to do when there is none. */
export interface ProxyCapability {
  /** Null: there is no engine. All lists are empty then. */
  family: ProxyFamily | null;
  /** As the engine prints it: `4.34.0`. Null for one that is reached by XRAY_API: engines do not tell it there. */
  version: string | null;
  /** A running engine of somebody else, reached by XRAY_API: its users are changed, its config and life are not ours. */
  external: boolean;
  protocols: ProxyProtocol[];
  networks: ProxyNetwork[];
  securities: ProxySecurity[];
  /** Without the empty one, which every engine can do. */
  flows: Exclude<ProxyFlow, ''>[];
  /** It can name the addresses that users are connected from: readOnline(). */
  onlineUsers: boolean;
  /** One sentence for an operator: what is there, or what is missing. */
  message: string;
  /** The line that mends it, when something is missing. */
  hint: string | null;
}

/** One user who may connect. Who may not is simply not in a list. */
export interface ProxyUserSpec {
  /**
   * Our name of the user on the engine (its `email` there): `[a-z0-9][a-z0-9_-]{0,63}`, lower case since engines compare
   * without regard to case. Counters are kept by it, over all inbounds.
   */
  id: string;
  /** A UUID. vless and vmess take it as the id, trojan as the password. Unique within an inbound. */
  uuid: string;
  /** Not empty only where the inbound is vless over tcp with tls or reality. */
  flow: ProxyFlow;
}

/** A certificate chain and its key, as files that the engine reads (and reads again), or as PEM text. */
export type ProxyCertificate =
  { certificateFile: string; keyFile: string } | { certificatePem: string; keyPem: string };

/** The server's half of REALITY. Keys are base64url without padding. */
export interface RealitySpec {
  privateKey: string;
  /** `host:port` of the site whose handshake is borrowed. */
  dest: string;
  serverNames: string[];
  /** Hex, an even number of digits, at most 16; `''` lets clients without one in. At least one. */
  shortIds: string[];
}

/** One way in for clients. */
export interface InboundSpec {
  /** `[A-Za-z0-9][A-Za-z0-9_.-]{0,63}`, unique. */
  tag: string;
  /** IP address; `0.0.0.0` and `::` are all. */
  listen: string;
  port: number;
  protocol: ProxyProtocol;
  network: ProxyNetwork;
  /** ws, xhttp, httpupgrade: the path, with its leading slash. grpc: the service name. tcp: empty. */
  path: string;
  /** ws, xhttp, httpupgrade: the only Host header that is let in; empty lets all in. */
  host: string;
  security: ProxySecurity;
  /** Not null exactly when security is `tls`. */
  certificate: ProxyCertificate | null;
  /** Not null exactly when security is `reality`. */
  reality: RealitySpec | null;
  users: ProxyUserSpec[];
}

/** The engine as it should be. */
export interface EngineSpec {
  inbounds: InboundSpec[];
  /** Absolute path of the access log; null writes none. Its folder is made when it is missing. */
  accessLogPath: string | null;
  /**
   * Addresses of this server that clients may reach through the proxy although they lie in a private range (a server
   * behind NAT). Loopback and link-local ones are never let through.
   */
  reachableAddresses: string[];
}

/** What became of ensureEngine(). */
export interface EngineChange {
  /** All connections were cut: the engine was started, or started anew. */
  restarted: boolean;
}

/** How the engine is. */
export interface EngineStatus {
  /** `hung`: the process is there and does not answer. */
  state: 'running' | 'stopped' | 'hung';
  family: ProxyFamily | null;
  version: string | null;
  external: boolean;
  /** Null for an external engine, and when it does not run. */
  pid: number | null;
  /** Seconds since its start; null when it does not run or does not answer. */
  uptimeSeconds: number | null;
  /** One sentence for an operator. */
  message: string;
}

/** What one user moved since the engine's start. Directions are the user's: up is what it sent. */
export interface ProxyUserUsage {
  id: string;
  upBytes: number;
  downBytes: number;
}

/** All counters of the engine. A user without traffic since the start is not listed; one removed since then still is. */
export interface UsageReading {
  /** Changes whenever the engine was started anew and its counters began again at zero. A safe integer. */
  epoch: number;
  users: ProxyUserUsage[];
}

/** A user who is connected now. */
export interface OnlineUser {
  id: string;
  /** Without those on loopback, which engines do not count. */
  addresses: string[];
}

/** A REALITY pair, base64url without padding. */
export interface RealityKeys {
  privateKey: string;
  publicKey: string;
}

/**
 * The engine refused for a reason that will not pass by itself: a setting that it cannot do, a port in use, an account
 * that does not fit. Nothing was changed: what served before goes on. The message is for the one who asked.
 */
export class ProxyRefusedError extends Error {}

/** There is no engine, or it is gone, does not answer, or could not be started. Trying again later makes sense. */
export class ProxyUnavailableError extends Error {}

/**
 * All that a proxy engine does for us. One engine; calls wait for each other. Every call ends within its own time limit
 * (seconds) with a result or one of the two errors above. Secrets stand in no message.
 */
export abstract class ProxyEnginePort {
  /** Finds out what is there. Cheap enough to be asked again every few seconds while nothing is. */
  abstract capability(): Promise<ProxyCapability>;

  /**
   * Makes the engine serve exactly this. One that runs is adopted (also after a restart of ours); where only users
   * differ it goes on running and connections stay. Otherwise the new config is first tried by the engine's own check,
   * then it is started anew; when that fails, the last config that worked is put back and started, without those users
   * who are not in `spec` any more. An engine that is hung for ten seconds is killed and started anew. With an external
   * engine only users are made equal, and only those that we put there are ever removed.
   * Throws ProxyRefusedError or ProxyUnavailableError.
   */
  abstract ensureEngine(spec: EngineSpec): Promise<EngineChange>;

  /**
   * Lets these users in by the inbound, without a restart. One who is there already gets these credentials instead; the
   * old ones stop working for new connections. Idempotent. All values are validated before anything is sent.
   */
  abstract addUsers(tag: string, users: readonly ProxyUserSpec[]): Promise<void>;

  /**
   * Keeps these users from opening new connections by the inbound, without a restart. Established ones go on until
   * cutOff() or a restart. Absent is success.
   */
  abstract removeUsers(tag: string, ids: readonly string[]): Promise<void>;

  /** Reads all counters in one call. Totals since the engine's start; nothing is reset. */
  abstract readUsage(): Promise<UsageReading>;

  /** Who is connected, and from where; null when this engine cannot say. */
  abstract readOnline(): Promise<OnlineUser[] | null>;

  /**
   * Closes the established TCP connections from these client addresses to the engine's inbounds, whoever of the users
   * behind an address they belong to. False when this host cannot do that: then only a restart cuts.
   */
  abstract cutOff(addresses: readonly string[]): Promise<boolean>;

  /** Like ensureEngine(), and starts the engine anew in any case. Refused for an external engine. */
  abstract restart(spec: EngineSpec): Promise<void>;

  /** Ends the engine; all connections are cut. Absent is success. An external engine is left alone. */
  abstract stop(): Promise<void>;

  /** Asks the engine. Never throws for what the engine does or fails to do. */
  abstract status(): Promise<EngineStatus>;

  /** The config that the engine was given, private keys and users' credentials masked; null when there is none. */
  abstract readConfig(): Promise<Record<string, unknown> | null>;

  /** Makes a fresh REALITY pair. */
  abstract generateRealityKeys(): RealityKeys;
}
