import type { Confirmation } from './envelope.dto.js';

export function done(message: string): Confirmation {
  return { message, success: true, data: null };
}

export function withData<T>(message: string, data: T): { message: string; success: true; data: T } {
  return { message, success: true, data };
}
