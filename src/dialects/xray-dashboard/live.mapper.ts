import type { LiveNow } from '../../domain/xray/xray-live.service.js';
import { formatUtc } from '../../platform/clock/clock.js';
import type { XrayLiveResponse } from './live.dto.js';

export function toLiveNow(live: LiveNow, askedAt: Date): XrayLiveResponse {
  return {
    ok: true,
    users: live.users.map(({ email, alias, upRate, downRate, conns, ips }) => ({
      email,
      alias,
      rate: { up: upRate, down: downRate },
      conns,
      ips,
    })),
    total: { users: live.users.length, conns: live.conns, rate: { up: live.upRate, down: live.downRate } },
    now: {
      onlineUsers: live.users.map(({ email }) => email),
      onlineUsersCount: live.users.length,
      conns: live.conns,
      trafficBytes: live.trafficBytes,
      trafficAvailable: live.measuredAt !== null,
    },
    timestamp: formatUtc(live.measuredAt ?? askedAt),
  };
}
