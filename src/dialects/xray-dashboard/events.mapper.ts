import type { AuditEvent } from '../../domain/events/event.entity.js';
import type { EventFilter } from '../../domain/events/events.service.js';
import { formatUtc } from '../../platform/clock/clock.js';
import type { XrayEventFilter, XrayEventItem } from './events.dto.js';

const DEFAULT_HOURS = 24;

export function toEventFilter({ hours, type, severity, service }: XrayEventFilter, now: Date): EventFilter {
  return { type, severity, service, since: new Date(now.getTime() - (hours ?? DEFAULT_HOURS) * 3_600_000) };
}

export function toEventItem(event: AuditEvent): XrayEventItem {
  const { id, at, type, severity, service, action, actor, ip, target, message, details } = event;
  return { id, ts: formatUtc(at), type, severity, service, action, actor, ip, target, message, details };
}
