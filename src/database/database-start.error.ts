/** The database cannot be used, and the message says to an operator why and what to do. Holds no secret. */
export class DatabaseStartError extends Error {
  override readonly name = 'DatabaseStartError';
}
