import { Injectable } from '@nestjs/common';
import { Config } from '../../platform/config/config.js';
import type { EngineHealth } from '../engines/engine.handler.js';
import { EnginesService } from '../engines/engines.service.js';
import { EventsService } from '../events/events.service.js';
import { WIREGUARD_ENGINE } from '../interfaces/interfaces.service.js';
import { XRAY_ENGINE } from '../xray/xray-engine-keys.js';
import { XrayEngineService } from '../xray/xray-engine.service.js';
import { restartTargetUnknown, restartUnsupervised } from './services.errors.js';

/** `ui`: this server. `nextjs`: the web console, which the same process serves. */
export type ServiceName = 'ui' | 'xray' | 'nextjs' | 'wireguard';

export const RESTART_TARGETS = ['ui', 'xray', 'nextjs'] as const satisfies ServiceName[];

export interface ServiceStatus {
  /** `inactive`: this installation does without it, which is no fault. */
  state: 'active' | 'failed' | 'inactive';
  /** One sentence for an operator. */
  message: string;
  /** The line that mends it, when something is wrong. */
  hint: string | null;
}

/** The parts of this installation that an operator sees as services. */
@Injectable()
export class ServicesService {
  constructor(
    private readonly config: Config,
    private readonly engines: EnginesService,
    private readonly xray: XrayEngineService,
    private readonly events: EventsService,
  ) {}

  async status(): Promise<Record<ServiceName, ServiceStatus>> {
    const [xray, wireguard] = await Promise.all([
      this.engines.healthOf(XRAY_ENGINE),
      this.engines.healthOf(WIREGUARD_ENGINE),
    ]);
    const own: ServiceStatus = { state: 'active', message: 'This server answers', hint: null };
    return {
      ui: own,
      xray: toStatus(xray),
      nextjs: { ...own, message: 'Served by this server' },
      wireguard: toStatus(wireguard),
    };
  }

  /**
   * Starts a service anew. The engine serves again when this returns; this process ends gracefully after it, and its
   * supervisor starts it again. Errors: `restart_target_unknown`, `restart_unsupervised`, those of
   * XrayEngineService.restart.
   */
  async restart(target: string): Promise<void> {
    const known = RESTART_TARGETS.find((name) => name === target);
    if (known === undefined) throw restartTargetUnknown(RESTART_TARGETS);
    if (known === 'xray') {
      await this.xray.restart();
      return;
    }
    if (!this.config.supervised) throw restartUnsupervised();
    await this.events.record({
      type: 'SYSTEM',
      severity: 'WARN',
      service: 'system',
      action: 'server_restarted',
      target: known,
      message: 'This server ends on request, to be started again by its supervisor',
    });
    // The same way out as for a supervisor: requests under way get their answers, this one too.
    setImmediate(() => process.kill(process.pid, 'SIGTERM'));
  }
}

function toStatus({ state, message, hint }: EngineHealth): ServiceStatus {
  return { state: state === 'up' ? 'active' : state === 'down' ? 'failed' : 'inactive', message, hint };
}
