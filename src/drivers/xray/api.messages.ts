import { type MessageTypeDefinition, type ServiceDefinition, fromJSON } from '@grpc/proto-loader';
import type { ProxyFamily } from '../../domain/xray/proxy-engine.port.js';

type Message = MessageTypeDefinition<object, object>;

/** The messages and services of one family that we use. */
export interface ApiMessages {
  stats: ServiceDefinition;
  handler: ServiceDefinition;
  addUser: Message;
  removeUser: Message;
  accounts: { vless: Message; vmess: Message; trojan: Message };
}

/** What stands before the name of every message and service. */
const PREFIXES: Record<ProxyFamily, string> = { xray: 'xray', v2ray: 'v2ray.core' };

const field = (type: string, id: number) => ({ type, id });
const list = (type: string, id: number) => ({ rule: 'repeated', type, id });
const call = (requestType: string, responseType: string) => ({ requestType, responseType });

/** Names and numbers of fields as the engines' public .proto files have them; what we do not use is left out. */
function packages(prefix: string): Record<string, object> {
  const user = `${prefix}.common.protocol.User`;
  const typed = `${prefix}.common.serial.TypedMessage`;
  return {
    'common.serial': {
      TypedMessage: { fields: { type: field('string', 1), value: field('bytes', 2) } },
    },
    'common.protocol': {
      User: { fields: { level: field('uint32', 1), email: field('string', 2), account: field(typed, 3) } },
    },
    'proxy.vless': { Account: { fields: { id: field('string', 1), flow: field('string', 2) } } },
    'proxy.vmess': { Account: { fields: { id: field('string', 1) } } },
    'proxy.trojan': { Account: { fields: { password: field('string', 1) } } },
    'app.stats.command': {
      Empty: { fields: {} },
      NameRequest: { fields: { name: field('string', 1) } },
      QueryRequest: { fields: { pattern: field('string', 1), reset: field('bool', 2) } },
      Stat: { fields: { name: field('string', 1), value: field('int64', 2) } },
      QueryResponse: { fields: { stat: list('Stat', 1) } },
      SysStatsResponse: { fields: { Uptime: field('uint32', 10) } },
      OnlineUsersResponse: { fields: { users: list('string', 1) } },
      OnlineAddressesResponse: { fields: { ips: { keyType: 'string', type: 'int64', id: 2 } } },
      StatsService: {
        methods: {
          QueryStats: call('QueryRequest', 'QueryResponse'),
          GetSysStats: call('Empty', 'SysStatsResponse'),
          GetAllOnlineUsers: call('Empty', 'OnlineUsersResponse'),
          GetStatsOnlineIpList: call('NameRequest', 'OnlineAddressesResponse'),
        },
      },
    },
    'app.proxyman.command': {
      AddUserOperation: { fields: { user: field(user, 1) } },
      RemoveUserOperation: { fields: { email: field('string', 1) } },
      AlterInboundRequest: { fields: { tag: field('string', 1), operation: field(typed, 2) } },
      AlterInboundResponse: { fields: {} },
      ListInboundsRequest: { fields: {} },
      InboundHandler: { fields: { tag: field('string', 1), proxySettings: field(typed, 3) } },
      ListInboundsResponse: { fields: { inbounds: list('InboundHandler', 1) } },
      HandlerService: {
        methods: {
          AlterInbound: call('AlterInboundRequest', 'AlterInboundResponse'),
          ListInbounds: call('ListInboundsRequest', 'ListInboundsResponse'),
        },
      },
    },
  };
}

interface Namespace {
  nested: Record<string, object>;
}

function load(family: ProxyFamily): ApiMessages {
  const prefix = PREFIXES[family];
  const root: Namespace = { nested: {} };
  for (const [name, content] of Object.entries(packages(prefix))) {
    let at = root;
    for (const part of `${prefix}.${name}`.split('.')) at = (at.nested[part] ??= { nested: {} }) as Namespace;
    Object.assign(at.nested, content);
  }
  const found = fromJSON(root, { keepCase: true, longs: String, defaults: true });
  const at = <T>(name: string): T => found[`${prefix}.${name}`] as T;
  return {
    stats: at('app.stats.command.StatsService'),
    handler: at('app.proxyman.command.HandlerService'),
    addUser: at('app.proxyman.command.AddUserOperation'),
    removeUser: at('app.proxyman.command.RemoveUserOperation'),
    accounts: {
      vless: at('proxy.vless.Account'),
      vmess: at('proxy.vmess.Account'),
      trojan: at('proxy.trojan.Account'),
    },
  };
}

const loaded = new Map<ProxyFamily, ApiMessages>();

export function apiMessages(family: ProxyFamily): ApiMessages {
  let messages = loaded.get(family);
  if (messages === undefined) loaded.set(family, (messages = load(family)));
  return messages;
}

/** The full name that a message has inside a TypedMessage. */
export function messageName(family: ProxyFamily, name: string): string {
  return `${PREFIXES[family]}.${name}`;
}
