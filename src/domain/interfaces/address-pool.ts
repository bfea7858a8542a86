import type { EntityManager } from 'typeorm';

/** Addresses handed to the pool at a time: big enough that refills are rare, small enough to stay unnoticed. */
const BLOCK = 256;

/**
 * Puts the next block of an interface's unused addresses into `free_addresses`; false when its range is used up. Safe
 * when called by many at once: the interface's row is the lock, and who comes second finds the pool filled.
 */
export async function refillAddressPool(manager: EntityManager, interfaceId: number): Promise<boolean> {
  return manager.transaction(async (tx) => {
    const rows: { next_host: string; last_host: string }[] = await tx.query(
      `SELECT next_host, (1::bigint << (32 - masklen(range))) - 2 AS last_host
         FROM wireguard_interfaces WHERE id = $1 FOR NO KEY UPDATE`,
      [interfaceId],
    );
    const row = rows[0];
    if (!row) return false;
    // One that another creation is just taking is of no use to the caller.
    const filled: unknown[] = await tx.query(
      'SELECT 1 FROM free_addresses WHERE interface_id = $1 LIMIT 1 FOR UPDATE SKIP LOCKED',
      [interfaceId],
    );
    if (filled.length > 0) return true;

    const last = Number(row.last_host);
    for (let from = Number(row.next_host); from <= last; from += BLOCK) {
      const to = Math.min(from + BLOCK - 1, last);
      await tx.query('UPDATE wireguard_interfaces SET next_host = $2 WHERE id = $1', [interfaceId, to + 1]);
      const added: unknown[] = await tx.query(
        `INSERT INTO free_addresses (interface_id, address)
         SELECT i.id, candidate.address
           FROM wireguard_interfaces i,
                LATERAL (SELECT host(network(i.range)::inet + n)::inet AS address
                           FROM generate_series($2::bigint, $3::bigint) n) candidate
          WHERE i.id = $1
            AND candidate.address <> host(i.address)::inet
            AND NOT EXISTS (SELECT 1 FROM clients c WHERE c.interface_id = i.id AND c.address = candidate.address)
         RETURNING 1`,
        [interfaceId, from, to],
      );
      if (added.length > 0) return true;
    }
    return comesBack(tx, interfaceId);
  });
}

/** The last addresses may be with creations that fail, for a name that is taken: waits for how they end. */
async function comesBack(tx: EntityManager, interfaceId: number): Promise<boolean> {
  for (;;) {
    const left: { address: string }[] = await tx.query(
      'SELECT address FROM free_addresses WHERE interface_id = $1 LIMIT 1',
      [interfaceId],
    );
    if (!left[0]) return false;
    const back: unknown[] = await tx.query(
      'SELECT 1 FROM free_addresses WHERE interface_id = $1 AND address = $2 FOR UPDATE',
      [interfaceId, left[0].address],
    );
    if (back.length > 0) return true;
  }
}
