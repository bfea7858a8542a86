import type { Pool } from 'pg';
import type { DataSource } from 'typeorm';

const TRY_LOCK = 'SELECT pg_try_advisory_lock(hashtextextended($1, 0)) AS got';
const UNLOCK = 'SELECT pg_advisory_unlock(hashtextextended($1, 0))';

/** One connection out of a pool. */
interface Lease {
  query(sql: string, values: unknown[]): Promise<{ got?: boolean }[]>;
  /** A connection whose state is unknown is closed, so that no lock goes back into the pool with it. */
  giveBack(broken: boolean): Promise<void>;
}

/**
 * Runs `work` while holding the named lock, or returns `{ ran: false }` at once when someone else has it: periodic work
 * of several replicas is done by one of them. Takes one connection out of the pool meanwhile. When that connection
 * drops the lock is gone and `work` is not told, so two runs must do no more harm than to waste time.
 */
export async function withLock<T>(
  source: DataSource | Pool,
  name: string,
  work: () => Promise<T>,
): Promise<{ ran: true; value: T } | { ran: false }> {
  const lease = 'createQueryRunner' in source ? await leaseOfDataSource(source) : await leaseOfPool(source);
  let broken = true;
  try {
    const [row] = await lease.query(TRY_LOCK, [name]);
    if (!row?.got) {
      broken = false;
      return { ran: false };
    }
    try {
      return { ran: true, value: await work() };
    } finally {
      broken = await lease.query(UNLOCK, [name]).then(
        () => false,
        () => true,
      );
    }
  } finally {
    await lease.giveBack(broken);
  }
}

async function leaseOfPool(pool: Pool): Promise<Lease> {
  const client = await pool.connect();
  // A checked-out client that dies emits `error`, which would end the process if nobody listened.
  const ignore = () => undefined;
  client.on('error', ignore);
  return {
    query: async (sql, values) => (await client.query<{ got?: boolean }>(sql, values)).rows,
    giveBack: async (broken) => {
      client.off('error', ignore);
      client.release(broken);
    },
  };
}

async function leaseOfDataSource(source: DataSource): Promise<Lease> {
  const runner = source.createQueryRunner();
  await runner.connect();
  return {
    query: (sql, values) => runner.query(sql, values),
    // TypeORM itself drops connections that reported an error.
    giveBack: () => runner.release(),
  };
}
