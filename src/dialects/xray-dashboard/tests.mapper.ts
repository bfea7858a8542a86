import type { CheckResult, CheckState } from '../../domain/system/self-checks.service.js';
import type { XrayCheckResult, XrayTestItem } from './tests.dto.js';

export function toCheckResult({ ok, durationMs, message, hint }: CheckResult): XrayCheckResult {
  return { ok, duration_ms: durationMs, message, hint };
}

export function toTestItem({ name, status, description, last }: CheckState): XrayTestItem {
  return {
    name,
    status,
    description,
    duration_ms: last?.durationMs ?? null,
    message: last?.message ?? null,
    hint: last?.hint ?? null,
  };
}
