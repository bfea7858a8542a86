import { Injectable } from '@nestjs/common';
import { AppLogger } from '../../platform/logging/app-logger.js';
import { SettingsService } from '../settings/settings.service.js';
import { problemText } from './problem.text.js';
import type { WantedDevice } from './tunnel-rows.service.js';
import { TunnelPort } from './tunnel.port.js';

/** Forwarding, NAT and filtering for the devices of this host, as the settings want them. */
@Injectable()
export class PacketRulesService {
  /** Why the rules are not as they should be, as a sentence for operators; null when they are. */
  problem: string | null = null;

  constructor(
    private readonly port: TunnelPort,
    private readonly settings: SettingsService,
    private readonly log: AppLogger,
  ) {}

  /** Never throws: tunnels without NAT are better than none, and the problem is told until it is mended. */
  async apply(devices: readonly WantedDevice[]): Promise<void> {
    try {
      const {
        allow_peers: allowPeers,
        allow_host: allowHost,
        allow_lan: allowLan,
      } = await this.settings.getAll('allow_peers', 'allow_host', 'allow_lan');
      await this.port.ensureFirewall(
        devices.map(({ name, ranges, spec }) => ({
          device: name,
          ranges,
          listenPort: spec.listenPort,
          allowPeers,
          allowHost,
          allowLan,
        })),
      );
      this.problem = null;
    } catch (error) {
      const problem = `firewall: ${problemText(error)}`;
      if (problem !== this.problem) this.log.error('firewall could not be set', { err: error });
      this.problem = problem;
    }
  }
}
