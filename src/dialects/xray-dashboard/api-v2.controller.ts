import { All } from '@nestjs/common';
import { ApiExcludeEndpoint } from '@nestjs/swagger';
import { DomainError } from '../../domain/domain-error.js';
import { Public } from '../../http/route.decorators.js';
import { XrayDashboardApi } from './xray-dashboard.api.js';

/** The dashboard plans a second version of its API and never wrote one: 501, as its document has it. */
@XrayDashboardApi('v2')
export class ApiV2Controller {
  @Public()
  @ApiExcludeEndpoint()
  @All('*')
  notThere(): never {
    throw new DomainError('refused', 'not_implemented', 'Version 2 of this API is not implemented');
  }
}
