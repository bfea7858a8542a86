import { asOwner, type TestDatabase } from './database.js';

/** Ends all sessions of the database and lets nobody in until `end`: what a restart of the server looks like. */
export async function beginOutage(database: TestDatabase): Promise<{ end(): Promise<void> }> {
  await asOwner('postgres', async (client) => {
    await client.query(`ALTER DATABASE ${database.name} WITH ALLOW_CONNECTIONS false`);
    await client.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1', [database.name]);
  });
  return {
    end: () =>
      asOwner('postgres', async (client) => {
        await client.query(`ALTER DATABASE ${database.name} WITH ALLOW_CONNECTIONS true`);
      }),
  };
}

/** Process ids of the sessions with this application name. */
export async function backendsOf(database: TestDatabase, applicationName: string): Promise<number[]> {
  return asOwner('postgres', async (client) => {
    const { rows } = await client.query<{ pid: number }>(
      'SELECT pid FROM pg_stat_activity WHERE datname = $1 AND application_name = $2',
      [database.name, applicationName],
    );
    return rows.map(({ pid }) => pid);
  });
}
