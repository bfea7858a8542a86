import { generateSecret, generateURI, verifySync } from 'otplib';

const STEP_SECONDS = 30;

/** A new base32 secret of 160 bits. */
export function newTotpSecret(): string {
  return generateSecret();
}

/** The `otpauth://` address that authenticator apps read from a QR code. */
export function totpUri(secret: string, account: string, issuer: string): string {
  return generateURI({ secret, label: account, issuer });
}

/**
 * Checks a six-digit code (RFC 6238, 30 s, SHA-1), one step early or late allowed. Returns the step that the code stands
 * for, to be stored as the next `lastUsedStep`, or null: wrong, or a step that was used already.
 */
export function checkTotp(
  secret: string,
  code: string,
  lastUsedStep: number | null,
  nowMs: number = Date.now(),
): number | null {
  if (!/^\d{6}$/.test(code)) return null;
  const epoch = Math.floor(nowMs / 1000);
  const result = verifySync({ secret, token: code, epoch, epochTolerance: STEP_SECONDS, period: STEP_SECONDS });
  if (!result.valid) return null;
  const step = Math.floor(epoch / STEP_SECONDS) + result.delta;
  return lastUsedStep !== null && step <= lastUsedStep ? null : step;
}
