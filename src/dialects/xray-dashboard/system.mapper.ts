import type { HostSnapshot } from '../../domain/system/host-sampler.service.js';
import type { ServedPort } from '../../domain/system/ports.service.js';
import type { ServiceStatus } from '../../domain/system/services.service.js';
import { formatUtc } from '../../platform/clock/clock.js';
import type { XrayPortItem, XrayResourcesResponse, XrayServiceStatus, XraySpaceUsage } from './system.dto.js';

export function toServiceStatus({ state, message, hint }: ServiceStatus): XrayServiceStatus {
  return { active: state === 'active', state, message, hint };
}

export function toResources(host: HostSnapshot): XrayResourcesResponse {
  return {
    ok: true,
    cpu: { percent: rounded(host.cpuPercent), count: host.cpuCount },
    memory: toSpace(host.memoryTotalBytes, host.memoryUsedBytes, host.memoryAvailableBytes),
    disk: toSpace(host.diskTotalBytes, host.diskUsedBytes, host.diskAvailableBytes),
    load: { load1: host.load1, load5: host.load5, load15: host.load15 },
    network: {
      rx_rate: rounded(host.networkRxBytesPerSecond),
      tx_rate: rounded(host.networkTxBytesPerSecond),
      rx_bytes: host.networkRxBytes,
      tx_bytes: host.networkTxBytes,
    },
    uptime: host.hostUptimeSeconds === null ? null : Math.floor(host.hostUptimeSeconds),
    timestamp: formatUtc(host.sampledAt),
  };
}

export function toPortItem({ port, running, protocol, service, name, message }: ServedPort): XrayPortItem {
  return { port, status: running ? 'running' : 'stopped', protocol, service, name, message };
}

/** Percent as `df` has it: of what programs can have, without what is kept for root. */
function toSpace(total: number | null, used: number | null, available: number | null): XraySpaceUsage {
  const all = used === null || available === null ? 0 : used + available;
  return { total, used, available, percent: all === 0 ? null : rounded((used! / all) * 100) };
}

const rounded = (value: number | null): number | null => value && Math.round(value * 10) / 10;
