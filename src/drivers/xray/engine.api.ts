import { Client, type ServiceError, credentials, status } from '@grpc/grpc-js';
import type { MessageTypeDefinition, ServiceDefinition } from '@grpc/proto-loader';
import {
  type OnlineUser,
  type ProxyFamily,
  type ProxyProtocol,
  ProxyRefusedError,
  ProxyUnavailableError,
  type ProxyUserSpec,
  type ProxyUserUsage,
} from '../../domain/xray/proxy-engine.port.js';
import { type ApiMessages, apiMessages, messageName } from './api.messages.js';
import { renderUser } from './engine.config.js';

const CALL_TIMEOUT_MS = 5_000;
const CALLS_AT_ONCE = 200;
/** Counters of some 100,000 users. */
const MAX_ANSWER_BYTES = 64 * 1024 * 1024;
const COUNTER = /^user>>>(.+)>>>traffic>>>(uplink|downlink)$/;
const ONLINE = /^user>>>(.+)>>>online$/;

/** The engine did not answer in time: what became of the call is unknown. */
export class ApiSilentError extends ProxyUnavailableError {}

/** Nobody listens there. */
export class ApiAbsentError extends ProxyUnavailableError {}

/** The API of one engine process. */
export class EngineApi {
  private readonly client: Client;
  private readonly messages: ApiMessages;

  /** `target` is `unix:/path` or `host:port`. */
  constructor(
    target: string,
    readonly family: ProxyFamily,
  ) {
    this.messages = apiMessages(family);
    this.client = new Client(target, credentials.createInsecure(), {
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 1_000,
      'grpc.max_receive_message_length': MAX_ANSWER_BYTES,
      'grpc.enable_http_proxy': 0,
      'grpc.use_local_subchannel_pool': 1,
      'grpc.default_authority': 'localhost',
    });
  }

  close(): void {
    this.client.close();
  }

  /** Seconds since the engine's start. */
  async uptimeSeconds(timeoutMs = CALL_TIMEOUT_MS): Promise<number> {
    const answer = await this.call<{ Uptime: number }>(this.messages.stats, 'GetSysStats', {}, timeoutMs);
    return answer.Uptime;
  }

  /** Lets them in; one who is there already gets these credentials instead. */
  async addUsers(tag: string, protocol: ProxyProtocol, users: readonly ProxyUserSpec[]): Promise<void> {
    await inParallel(users, async (user) => {
      const add = (): Promise<string | null> =>
        this.alter(tag, 'AddUserOperation', this.messages.addUser, {
          user: { level: 0, email: user.id, account: this.account(protocol, user) },
        });
      let message = await add();
      if (message !== null && /already exists/i.test(message)) {
        await this.removeUser(tag, user.id);
        message = await add();
      }
      if (message !== null) throw refusal(message);
    });
  }

  async removeUsers(tag: string, ids: readonly string[]): Promise<void> {
    await inParallel(ids, (id) => this.removeUser(tag, id));
  }

  /** All user counters, in one call. */
  async usage(): Promise<ProxyUserUsage[]> {
    const query = { pattern: 'user>>>', reset: false };
    const answer = await this.call<{ stat: { name: string; value: string }[] }>(
      this.messages.stats,
      'QueryStats',
      query,
    );
    const users = new Map<string, ProxyUserUsage>();
    for (const { name, value } of answer.stat) {
      const [, id, direction] = COUNTER.exec(name) ?? [];
      if (id === undefined) continue;
      let usage = users.get(id);
      if (usage === undefined) users.set(id, (usage = { id, upBytes: 0, downBytes: 0 }));
      usage[direction === 'uplink' ? 'upBytes' : 'downBytes'] = Number(value);
    }
    return [...users.values()];
  }

  /** Null when this engine cannot say. */
  async online(): Promise<OnlineUser[] | null> {
    const answer = await this.call<{ users: string[] }>(this.messages.stats, 'GetAllOnlineUsers', {}).catch(
      unlessUnimplemented,
    );
    if (answer === null) return null;
    const found: OnlineUser[] = [];
    await inParallel(answer.users, async (name) => {
      const id = ONLINE.exec(name)?.[1];
      if (id === undefined) return;
      // One who left since the list was made is not an error.
      const list = await this.call<{ ips: Record<string, string> }>(this.messages.stats, 'GetStatsOnlineIpList', {
        name,
      }).catch((error: unknown) => (error instanceof ApiRefusedError ? null : Promise.reject(error)));
      const addresses = Object.keys(list?.ips ?? {});
      if (addresses.length > 0) found.push({ id, addresses });
    });
    return found;
  }

  /** The protocol of an inbound as the engine says it; null when it cannot say, or has no such inbound. */
  async protocolOf(tag: string): Promise<{ known: boolean; protocol: ProxyProtocol | null }> {
    const answer = await this.call<{ inbounds: { tag: string; proxySettings: { type: string } | null }[] }>(
      this.messages.handler,
      'ListInbounds',
      {},
    ).catch(unlessUnimplemented);
    if (answer === null) return { known: false, protocol: null };
    const type = answer.inbounds.find((inbound) => inbound.tag === tag)?.proxySettings?.type;
    const protocol = /\.proxy\.(vless|vmess|trojan)\./.exec(type ?? '')?.[1];
    return { known: true, protocol: (protocol as ProxyProtocol | undefined) ?? null };
  }

  private async removeUser(tag: string, id: string): Promise<void> {
    const message = await this.alter(tag, 'RemoveUserOperation', this.messages.removeUser, { email: id });
    if (message !== null && !/user .*not found/i.test(message)) throw refusal(message);
  }

  private account(protocol: ProxyProtocol, user: ProxyUserSpec): { type: string; value: Buffer } {
    const { id, password, flow } = renderUser(protocol, user);
    const value = this.messages.accounts[protocol].serialize(protocol === 'trojan' ? { password } : { id, flow });
    return { type: messageName(this.family, `proxy.${protocol}.Account`), value };
  }

  /** Null when it was done, else what the engine says against it. */
  private async alter(
    tag: string,
    name: string,
    type: MessageTypeDefinition<object, object>,
    content: object,
  ): Promise<string | null> {
    const operation = {
      type: messageName(this.family, `app.proxyman.command.${name}`),
      value: type.serialize(content),
    };
    try {
      await this.call(this.messages.handler, 'AlterInbound', { tag, operation });
      return null;
    } catch (error) {
      if (error instanceof ApiRefusedError) return error.message;
      throw error;
    }
  }

  private call<T>(
    service: ServiceDefinition,
    method: string,
    request: object,
    timeoutMs = CALL_TIMEOUT_MS,
  ): Promise<T> {
    const { path, requestSerialize, responseDeserialize } = service[method]!;
    const options = { deadline: Date.now() + timeoutMs };
    return new Promise((resolve, reject) => {
      this.client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, options, (error, answer) => {
        if (error === null) resolve(answer as T);
        else reject(translate(error));
      });
    });
  }
}

/** The engine answered, with an error. */
export class ApiRefusedError extends ProxyRefusedError {
  constructor(
    readonly code: status,
    message: string,
  ) {
    super(message);
  }
}

function translate(error: ServiceError): Error {
  switch (error.code) {
    case status.DEADLINE_EXCEEDED:
      return new ApiSilentError('The engine does not answer');
    case status.UNAVAILABLE:
    case status.CANCELLED:
    // A connection that broke in the middle of an answer.
    case status.INTERNAL:
      return new ApiAbsentError('The engine cannot be reached');
    default:
      return new ApiRefusedError(error.code, error.details);
  }
}

function unlessUnimplemented(error: unknown): null {
  if (error instanceof ApiRefusedError && error.code === status.UNIMPLEMENTED) return null;
  throw error;
}

function refusal(message: string): ProxyRefusedError {
  return new ProxyRefusedError(`The engine refuses the change: ${message.split(' > ').at(-1)!.slice(0, 200)}`);
}

/** Waits for all, also when one fails: nothing goes on behind the caller's back. Throws the first error. */
async function inParallel<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const rest = items.values();
  const errors: unknown[] = [];
  const lane = async (): Promise<void> => {
    for (const item of rest) {
      if (errors.length > 0) return;
      await work(item).catch((error: unknown) => errors.push(error));
    }
  };
  await Promise.all(Array.from({ length: Math.min(CALLS_AT_ONCE, items.length) }, lane));
  if (errors.length > 0) throw errors[0];
}
