import { DialectController } from '../../http/dialect-controller.decorator.js';
import { xrayDashboard, XrayDashboardError } from './xray-dashboard.errors.js';

/** Controllers of the Xray dashboard's API, below /api: for admins unless a method says otherwise. */
export const XrayDashboardApi = (path = '') =>
  DialectController({
    dialect: xrayDashboard,
    path: path === '' ? 'api' : `api/${path}`,
    tag: 'Xray dashboard',
    error: XrayDashboardError,
  });
