import { hash, type Options, verify } from '@node-rs/argon2';
import { availableParallelism } from 'node:os';

// argon2id (the library's default) with 19 MiB, two passes, one lane: what OWASP's password storage cheat sheet asks for.
const ARGON2: Options = { memoryCost: 19_456, timeCost: 2, parallelism: 1 };

/** A hash with the same costs, of a password that nobody knows. */
const NOBODY = '$argon2id$v=19$m=19456,t=2,p=1$FcWwf0eh8WUjEYkhyLzEDA$C020u46p/voMlKG09tu17cG09n2HDEkEjOwuYPDOYUM';

// Hashes run in libuv's pool of four threads: one stays free for files and name look-ups.
const MOST_AT_ONCE = Math.min(3, availableParallelism());
const MOST_WAITING = 500;

/** Too many logins at once. Nothing was looked at; trying again in a second makes sense. */
export class PasswordsBusyError extends Error {
  constructor() {
    super('Too many passwords are being checked, try again in a moment');
    this.name = 'PasswordsBusyError';
  }
}

let running = 0;
const waiting: (() => void)[] = [];

/** The argon2id hash to store, with its salt and costs in it. Throws PasswordsBusyError. */
export function hashPassword(password: string): Promise<string> {
  return inTurn(() => hash(password, ARGON2));
}

/** Whether `password` is the one of `passwordHash`. Throws PasswordsBusyError, and an Error on what is no hash. */
export function verifyPassword(passwordHash: string, password: string): Promise<boolean> {
  return inTurn(() => verify(passwordHash, password));
}

/** Takes as long as verifyPassword, so that unknown users cannot be told from known ones. Throws PasswordsBusyError. */
export async function wasteVerify(password: string): Promise<false> {
  await verifyPassword(NOBODY, password);
  return false;
}

/** Bounds memory (19 MiB each) and waiting time: at most a few hashes at once, a bounded queue behind them. */
async function inTurn<T>(work: () => Promise<T>): Promise<T> {
  if (running >= MOST_AT_ONCE) {
    if (waiting.length >= MOST_WAITING) throw new PasswordsBusyError();
    await new Promise<void>((resolve) => waiting.push(resolve));
  } else {
    running += 1;
  }
  try {
    return await work();
  } finally {
    // The place is handed on to the next in line, not given back, so nobody can slip in between.
    const next = waiting.shift();
    if (next === undefined) running -= 1;
    else next();
  }
}
