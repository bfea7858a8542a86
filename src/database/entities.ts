import { ApiToken } from '../domain/auth/api-token.entity.js';
import { RevokedSession } from '../domain/auth/revoked-session.entity.js';
import { Client } from '../domain/clients/client.entity.js';
import { EngineStatus } from '../domain/engines/engine-status.entity.js';
import { AuditEvent } from '../domain/events/event.entity.js';
import { FreeAddress } from '../domain/interfaces/free-address.entity.js';
import { RetiredDevice } from '../domain/interfaces/retired-device.entity.js';
import { WireguardInterface } from '../domain/interfaces/wireguard-interface.entity.js';
import { Installation } from '../domain/settings/installation.entity.js';
import { Setting } from '../domain/settings/setting.entity.js';
import { UsageCounter } from '../domain/usage/usage-counter.entity.js';
import { User } from '../domain/users/user.entity.js';
import { XrayInbound } from '../domain/xray/xray-inbound.entity.js';
import { XraySettings } from '../domain/xray/xray-settings.entity.js';
import { XrayUser } from '../domain/xray/xray-user.entity.js';

/** Every table that TypeORM knows: the one list. */
export const entities = [
  ApiToken,
  AuditEvent,
  Client,
  EngineStatus,
  FreeAddress,
  Installation,
  RetiredDevice,
  RevokedSession,
  Setting,
  UsageCounter,
  User,
  WireguardInterface,
  XrayInbound,
  XraySettings,
  XrayUser,
];
