import { DomainError } from '../domain-error.js';

/** The engine is known to be down or absent, or did not answer in time. Nothing was changed for the caller. */
export const engineUnavailable = (engine: string, message: string, hint: string | null = null): DomainError =>
  new DomainError('unavailable', 'engine_unavailable', message, { engine, hint });

/** The engine answered that it cannot do what was asked. */
export const engineRefused = (engine: string, message: string): DomainError =>
  new DomainError('refused', 'engine_refused', message, { engine });

/** The same command is running at this moment. */
export const engineBusy = (engine: string, command: string): DomainError =>
  new DomainError('conflict', 'engine_busy', `${command} is under way already`, { engine, command });
