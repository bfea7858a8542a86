import { AppLogger } from '../../src/platform/logging/app-logger.js';
import { createLogger } from '../../src/platform/logging/logger.js';

/** A log that nobody sees, or whose lines land in `lines`. */
export function silentLog(lines: string[] = []): AppLogger {
  return new AppLogger(createLogger('debug', { write: (line: string) => void lines.push(line) }));
}
