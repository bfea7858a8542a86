import { House1795305600000 } from './1795305600000-house.js';
import { Usage1795305700000 } from './1795305700000-usage.js';
import { Installation1795305710000 } from './1795305710000-installation.js';
import { RetiredDevices1795305720000 } from './1795305720000-retired-devices.js';
import { Xray1795305800000 } from './1795305800000-xray.js';
import { Ipv61795305900000 } from './1795305900000-ipv6.js';

/** Every step from an empty database to now, oldest first. Append only: a released step is never edited. */
export const migrations = [
  House1795305600000,
  Usage1795305700000,
  Installation1795305710000,
  RetiredDevices1795305720000,
  Xray1795305800000,
  Ipv61795305900000,
];
