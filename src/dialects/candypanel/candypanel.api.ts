import { DialectController } from '../../http/dialect-controller.decorator.js';
import { candypanel, CandyPanelError } from './candypanel.errors.js';

/** Controllers of CandyPanel's API: for admins unless a method says otherwise. */
export const CandyPanelApi = (path = '') =>
  DialectController({ dialect: candypanel, path, tag: 'CandyPanel', error: CandyPanelError });
