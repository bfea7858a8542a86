import type { NewXrayUser, XrayUserChange, XrayUserRef, XrayUserView } from '../../domain/xray/xray-users.service.js';
import { jsonInteger } from '../../http/json-integer.js';
import { formatUtc } from '../../platform/clock/clock.js';
import type {
  XrayUserAddRequest,
  XrayUserItem,
  XrayUserReference,
  XrayUserStatsItem,
  XrayUserUpdateRequest,
} from './users.dto.js';

export function toUserRef(request: XrayUserReference): XrayUserRef {
  return { email: request.email ?? undefined, uuid: request.uuid ?? undefined };
}

export function toNewUser(request: XrayUserAddRequest): NewXrayUser {
  return {
    email: request.email,
    alias: request.alias ?? undefined,
    trafficLimitBytes: request.traffic_limit_bytes ?? undefined,
    expiresAt: request.expires_at,
    enabled: request.enabled ?? undefined,
  };
}

export function toUserChange(request: XrayUserUpdateRequest): XrayUserChange {
  return {
    alias: request.alias ?? undefined,
    trafficLimitBytes: request.traffic_limit_bytes ?? undefined,
    expiresAt: request.expires_at,
    enabled: request.enabled ?? undefined,
  };
}

export function toUserItem(user: XrayUserView): XrayUserItem {
  return {
    email: user.email,
    uuid: user.uuid,
    alias: user.alias,
    flow: user.flow,
    enabled: user.enabled,
    active: user.active,
    ended_reason: user.endedReason,
    traffic_limit_bytes: jsonInteger(user.trafficLimitBytes),
    expires_at: orNull(user.expiresAt),
    created_at: formatUtc(user.createdAt),
  };
}

export function toUserStats(user: XrayUserView): XrayUserStatsItem {
  const total = jsonInteger(String(BigInt(user.upBytes) + BigInt(user.downBytes)));
  return {
    traffic: total,
    conns: user.conns,
    isOnline: user.online,
    totalTrafficBytes: total,
    uploadBytes: jsonInteger(user.upBytes),
    downloadBytes: jsonInteger(user.downBytes),
    daysUsed: user.daysUsed,
    firstSeenAt: orNull(user.firstSeenAt),
    lastSeenAt: orNull(user.lastSeenAt),
  };
}

const orNull = (date: Date | null): string | null => date && formatUtc(date);
