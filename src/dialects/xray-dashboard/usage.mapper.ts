import type { UsageDashboard, UserDays } from '../../domain/xray/xray-usage.service.js';
import type { XrayUsageOfUser, XrayUsageResponse } from './usage.dto.js';

export function toUsage({ days, global, users }: UsageDashboard): XrayUsageResponse {
  return {
    ok: true,
    meta: { days },
    global: {
      daily_traffic_bytes: global.dailyTrafficBytes,
      prev_daily_traffic_bytes: global.prevDailyTrafficBytes,
      daily_conns: global.dailyConns,
      prev_daily_conns: global.prevDailyConns,
      cumulative_traffic_bytes: global.cumulativeTrafficBytes,
      cumulative_conns: global.cumulativeConns,
      top_domains_traffic: global.topDomainsTraffic,
      top_domains_conns: global.topDomainsConns,
    },
    users: Object.fromEntries(users.map((user) => [user.email, toUsageOfUser(user)])),
  };
}

function toUsageOfUser(user: UserDays): XrayUsageOfUser {
  return {
    uuid: user.uuid,
    email: user.email,
    alias: user.alias,
    anomaly: user.anomaly,
    daily_traffic_bytes: user.dailyTrafficBytes,
    daily_conns: user.dailyConns,
    sum7_traffic_bytes: user.sum7TrafficBytes,
    sum_prev7_traffic_bytes: user.sumPrev7TrafficBytes,
    sum7_conns: user.sum7Conns,
    sum_prev7_conns: user.sumPrev7Conns,
  };
}
