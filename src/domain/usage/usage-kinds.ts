/** Everything that traffic is counted for. The numbers are stored. */
export const USAGE_KINDS = { wireguard: 1, xray: 2 } as const;

export type UsageKind = keyof typeof USAGE_KINDS;

/** The subject that counts a whole kind: it has counters and samples as any other, and outlives them all. */
export function kindSubject(kind: UsageKind): string {
  return `00000000-0000-0000-0000-${String(USAGE_KINDS[kind]).padStart(12, '0')}`;
}
