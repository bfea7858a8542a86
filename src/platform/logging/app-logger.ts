import { Injectable } from '@nestjs/common';
import type { Logger } from 'pino';

/** Fields of a log line. An Error goes under `err`, to be written with its stack. */
export type LogContext = Record<string, unknown>;

/** What everything of ours logs through. Messages are constant texts; what varies goes into the context. */
@Injectable()
export class AppLogger {
  constructor(readonly pino: Logger) {}

  debug(message: string, context: LogContext = {}): void {
    this.pino.debug(context, message);
  }

  info(message: string, context: LogContext = {}): void {
    this.pino.info(context, message);
  }

  warn(message: string, context: LogContext = {}): void {
    this.pino.warn(context, message);
  }

  error(message: string, context: LogContext = {}): void {
    this.pino.error(context, message);
  }

  /** A logger that writes these fields on each line. */
  child(context: LogContext): AppLogger {
    return new AppLogger(this.pino.child(context));
  }
}
