import type { Dashboard } from '../../domain/system/dashboard.service.js';
import type { DashboardRecord } from './dashboard.dto.js';

const KIB = 1024;
const GIB = 1024 ** 3;

/** CandyPanel's units are powers of 1024. What the host does not tell is zero. */
export function toDashboardRecord(dashboard: Dashboard): DashboardRecord {
  const { memoryTotalBytes: total, memoryUsedBytes: used } = dashboard;
  return {
    cpu: percent(dashboard.cpuPercent),
    mem: {
      total: gigabytes(total),
      available: gigabytes(dashboard.memoryAvailableBytes),
      usage: percent(total === null || used === null || total === 0 ? null : (used / total) * 100),
    },
    clients_count: dashboard.clientCount,
    status: dashboard.status ? '1' : '0',
    alert: dashboard.alerts,
    bandwidth: String(dashboard.bandwidthBytes),
    uptime: String(dashboard.uptimeSeconds),
    net: { download: rate(dashboard.downloadRate), upload: rate(dashboard.uploadRate) },
  };
}

const percent = (value: number | null): string => `${(value ?? 0).toFixed(1)}%`;
const gigabytes = (bytes: number | null): string => `${((bytes ?? 0) / GIB).toFixed(2)} GB`;
const rate = (bytesPerSecond: number | null): string => `${((bytesPerSecond ?? 0) / KIB).toFixed(2)} KB/s`;
