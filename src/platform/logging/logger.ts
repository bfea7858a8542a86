import { type DestinationStream, type Logger, pino } from 'pino';
import type { Config } from '../config/config.js';
import { redact } from './redaction.js';

/** JSON lines with ISO times on standard output, or on `destination`. No secret leaves through it, at any depth. */
export function createLogger(level: Config['logLevel'], destination?: DestinationStream): Logger {
  return pino(
    {
      level,
      base: null,
      timestamp: timeMember,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: describeError, error: describeError },
      hooks: { streamWrite: redact },
    },
    destination ?? inTurns(pino.destination({ dest: 1, sync: true })),
  );
}

/** What is said within one turn of the event loop goes out in one write. Nothing stays behind when the process exits. */
function inTurns(destination: DestinationStream): DestinationStream {
  let waiting = '';
  const flush = (): void => {
    const text = waiting;
    waiting = '';
    if (text !== '') destination.write(text);
  };
  process.once('exit', flush);
  return {
    write: (line) => {
      if (waiting === '') setImmediate(flush);
      waiting += line;
    },
  };
}

let timeAt = 0;
let timeText = '';

/** Lines come many to a millisecond, and telling the time costs as much as the rest of a line. */
function timeMember(): string {
  const now = Date.now();
  if (now !== timeAt) {
    timeAt = now;
    timeText = `,"time":"${new Date(now).toISOString()}"`;
  }
  return timeText;
}

/**
 * What is worth knowing of an error. Only these fields: database errors carry the query's parameters, HTTP errors the
 * request's headers, and some of those are secrets.
 */
function describeError(error: unknown, depth = 0): unknown {
  if (!(error instanceof Error)) return error;
  const { code, cause } = error as { code?: unknown; cause?: unknown };
  return {
    type: error.name,
    message: error.message,
    ...(typeof code === 'string' || typeof code === 'number' ? { code } : {}),
    stack: error.stack,
    ...(cause instanceof Error && depth < 3 ? { cause: describeError(cause, depth + 1) } : {}),
  };
}
