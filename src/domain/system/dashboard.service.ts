import { Injectable, type OnModuleInit } from '@nestjs/common';
import { ClientsService } from '../clients/clients.service.js';
import { AlertsService } from '../settings/alerts.service.js';
import { SettingsService } from '../settings/settings.service.js';
import { UsageService } from '../usage/usage.service.js';
import { HostSampler } from './host-sampler.service.js';

/** The state of host and tunnels at one moment. Of the host, null is what it does not tell. */
export interface Dashboard {
  /** 0 to 100 over all processors. */
  cpuPercent: number | null;
  memoryTotalBytes: number | null;
  memoryAvailableBytes: number | null;
  memoryUsedBytes: number | null;
  clientCount: number;
  /** The operator's switch, the setting `status`. */
  status: boolean;
  /** The operator's own lines, then what is wrong at this moment. */
  alerts: string[];
  /** All that went through the tunnels, both ways, deleted clients included. */
  bandwidthBytes: bigint;
  /** Whole seconds since the host started. */
  uptimeSeconds: number;
  /** Bytes a second that this host receives. */
  downloadRate: number | null;
  /** Bytes a second that this host sends. */
  uploadRate: number | null;
}

/** What operators look at first. */
@Injectable()
export class DashboardService implements OnModuleInit {
  constructor(
    private readonly host: HostSampler,
    private readonly clients: ClientsService,
    private readonly usage: UsageService,
    private readonly settings: SettingsService,
    private readonly alerts: AlertsService,
  ) {}

  onModuleInit(): void {
    this.settings.provide('bandwidth', { read: async () => String(await this.bandwidthBytes()) });
    this.settings.provide('uptime', { read: async () => String(this.uptimeSeconds()) });
  }

  async show(): Promise<Dashboard> {
    const [clientCount, settings, live, bandwidthBytes] = await Promise.all([
      this.clients.count(),
      this.settings.getAll('status', 'alert'),
      this.alerts.live(),
      this.bandwidthBytes(),
    ]);
    const host = this.host.snapshot();
    return {
      cpuPercent: host.cpuPercent,
      memoryTotalBytes: host.memoryTotalBytes,
      memoryAvailableBytes: host.memoryAvailableBytes,
      memoryUsedBytes: host.memoryUsedBytes,
      clientCount,
      status: settings.status,
      alerts: [...settings.alert, ...live],
      bandwidthBytes,
      uptimeSeconds: this.uptimeSeconds(),
      downloadRate: host.networkRxBytesPerSecond,
      uploadRate: host.networkTxBytesPerSecond,
    };
  }

  private async bandwidthBytes(): Promise<bigint> {
    const { rx, tx } = await this.usage.total('wireguard');
    return rx + tx;
  }

  private uptimeSeconds(): number {
    const { hostUptimeSeconds, processUptimeSeconds } = this.host.snapshot();
    return Math.floor(hostUptimeSeconds ?? processUptimeSeconds);
  }
}
