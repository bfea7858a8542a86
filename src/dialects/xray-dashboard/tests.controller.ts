import { Get } from '@nestjs/common';
import { SelfChecksService } from '../../domain/system/self-checks.service.js';
import { formatUtc } from '../../platform/clock/clock.js';
import { XrayTestsListResponse, XrayTestsRunResponse, XrayTestsStatusResponse } from './tests.dto.js';
import { toCheckResult, toTestItem } from './tests.mapper.js';
import { XrayDashboardApi } from './xray-dashboard.api.js';

/** The document's tests are checks of this installation, on the running server. */
@XrayDashboardApi('tests')
export class TestsController {
  constructor(private readonly checks: SelfChecksService) {}

  /**
   * Check this installation
   * @remarks Who asks while a run is under way gets its results.
   */
  @Get('run')
  async runTests(): Promise<XrayTestsRunResponse> {
    const results = [...(await this.checks.run())];
    return {
      ok: true,
      results: Object.fromEntries(results.map(([name, result]) => [name, toCheckResult(result)])),
      passed: results.every(([, { ok }]) => ok),
    };
  }

  /** List the checks and how they last went */
  @Get('list')
  listTests(): XrayTestsListResponse {
    return { ok: true, tests: this.checks.list().map(toTestItem) };
  }

  /** Tell whether a run is under way, and how far */
  @Get('status')
  showTestsStatus(): XrayTestsStatusResponse {
    const { running, done, total, lastRunAt } = this.checks.progress();
    return {
      ok: true,
      status: running ? 'running' : 'ready',
      last_run: lastRunAt && formatUtc(lastRunAt),
      progress: { done, total },
    };
  }
}
