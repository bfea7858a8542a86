/** Decimal digits as the JSON integer that an answer shows: a number while that is exact, a bigint beyond. */
export function jsonInteger(digits: string): number | bigint {
  const value = Number(digits);
  return Number.isSafeInteger(value) ? value : BigInt(digits);
}
