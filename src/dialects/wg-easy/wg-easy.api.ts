import { DialectController } from '../../http/dialect-controller.decorator.js';
import { wgEasy, WgEasyError } from './wg-easy.errors.js';

/** Controllers of wg-easy's API, below /api: for admins unless a method says otherwise. */
export const WgEasyApi = (path: string) =>
  DialectController({ dialect: wgEasy, path: `api/${path}`, tag: 'wg-easy', error: WgEasyError });
