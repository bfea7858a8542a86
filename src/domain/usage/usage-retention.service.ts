import { Injectable } from '@nestjs/common';
import { InjectDataSource } from '@nestjs/typeorm';
import { DataSource, type EntityManager } from 'typeorm';
import {
  nextDay,
  partitionDay,
  partitionName,
  type PartitionedTable,
  type PartitionPlan,
  planPartitions,
  RETENTION,
} from './usage-partitions.js';

interface TablePlan extends PartitionPlan {
  table: PartitionedTable;
}

const FOLD = `
  INSERT INTO usage_five_minutes AS f (kind, at, subject_id, rx, tx, conns)
  SELECT kind, date_bin(interval '5 minutes', at, timestamptz '2000-01-01 00:00:00+00'), subject_id,
         sum(rx), sum(tx), sum(conns)
  FROM %minutes
  GROUP BY 2, 1, 3
  ON CONFLICT (kind, at, subject_id) DO UPDATE
  SET rx = f.rx + excluded.rx, tx = f.tx + excluded.tx, conns = f.conns + excluded.conns`;

/**
 * The partitions of the samples. Days of minutes that are past keeping become 5-minute rows in the step that drops
 * them: each span is in one of the two tables, and one that reads both reads each byte once.
 */
@Injectable()
export class UsageRetentionService {
  constructor(@InjectDataSource() private readonly dataSource: DataSource) {}

  /**
   * Makes the partitions of today and tomorrow and removes those past keeping, which may take minutes. Each step is a
   * transaction that two callers cannot both do; one that fails (a reader holds a table for seconds) throws and is left
   * to the next call.
   */
  async maintain(now: Date): Promise<void> {
    const plans = await this.plans(now);
    await this.createAhead(now, plans);
    for (const { table, drop } of plans) {
      for (const day of drop) await (table === 'usage_minutes' ? this.fold(day) : this.drop(table, day));
    }
    await this.sweepDefaults(now);
  }

  /** Only the first half: quick, and all that a start has to wait for. */
  async createAhead(now: Date, plans?: readonly TablePlan[]): Promise<void> {
    for (const { table, create } of plans ?? (await this.plans(now))) {
      // 5-minute rows come from folded minutes only: their partitions are made then.
      if (table !== 'usage_five_minutes') for (const day of create) await this.create(table, day);
    }
  }

  private async plans(now: Date): Promise<TablePlan[]> {
    const existing = await this.partitions();
    return (Object.keys(RETENTION) as PartitionedTable[]).map((table) => ({
      table,
      ...planPartitions(existing[table], now, RETENTION[table]),
    }));
  }

  /** The days that have a partition. */
  async partitions(): Promise<Record<PartitionedTable, Date[]>> {
    const rows = await this.dataSource.query<{ parent: PartitionedTable; name: string }[]>(
      `SELECT p.relname AS parent, c.relname AS name
       FROM pg_inherits i
       JOIN pg_class p ON p.oid = i.inhparent
       JOIN pg_class c ON c.oid = i.inhrelid
       WHERE i.inhparent = ANY ($1::regclass[])`,
      [Object.keys(RETENTION)],
    );
    const days: Record<PartitionedTable, Date[]> = { usage_minutes: [], usage_five_minutes: [], usage_hours: [] };
    for (const { parent, name } of rows) {
      const day = partitionDay(parent, name);
      if (day) days[parent].push(day);
    }
    return days;
  }

  private async create(table: PartitionedTable, day: Date): Promise<void> {
    await this.step((manager) => this.attach(manager, table, day));
  }

  /** Rows of that day that the default partition took meanwhile move into the new one. */
  private async attach(manager: EntityManager, table: PartitionedTable, day: Date): Promise<void> {
    const name = partitionName(table, day);
    const [found] = await manager.query<[{ name: string | null }]>('SELECT to_regclass($1) AS name', [name]);
    if (found.name !== null) return;
    // Hours are rewritten each minute and want room beside each row; the others are written once.
    const storage = table === 'usage_hours' ? 'WITH (fillfactor = 50)' : '';
    const [from, to] = [day.toISOString(), nextDay(day).toISOString()];
    // Made apart and attached: CREATE TABLE ... PARTITION OF would lock out readers of the whole table.
    await manager.query(`CREATE TABLE ${name} (LIKE ${table} INCLUDING ALL) ${storage}`);
    await manager.query(`LOCK TABLE ${table}_default IN ACCESS EXCLUSIVE MODE`);
    await manager.query(
      `WITH strays AS (DELETE FROM ${table}_default WHERE at >= '${from}' AND at < '${to}' RETURNING *)
       INSERT INTO ${name} SELECT * FROM strays`,
    );
    await manager.query(`ALTER TABLE ${table} ATTACH PARTITION ${name} FOR VALUES FROM ('${from}') TO ('${to}')`);
  }

  private async fold(day: Date): Promise<void> {
    const minutes = partitionName('usage_minutes', day);
    // A step of its own: its lock on the default partition must not last as long as the folding.
    await this.create('usage_five_minutes', day);
    await this.step(async (manager) => {
      const [found] = await manager.query<[{ name: string | null }]>('SELECT to_regclass($1) AS name', [minutes]);
      if (found.name === null) return;
      // A clock that was set back may be writing there.
      await manager.query(`LOCK TABLE ${minutes} IN SHARE ROW EXCLUSIVE MODE`);
      await manager.query(FOLD.replace('%minutes', minutes));
      await manager.query(`DROP TABLE ${minutes}`);
    });
  }

  private async drop(table: PartitionedTable, day: Date): Promise<void> {
    await this.step(async (manager) => {
      await manager.query(`DROP TABLE IF EXISTS ${partitionName(table, day)}`);
    });
  }

  /** What a wrong clock wrote into days without a partition ages out as well. */
  private async sweepDefaults(now: Date): Promise<void> {
    for (const table of Object.keys(RETENTION) as PartitionedTable[]) {
      const before = new Date(now.getTime() - RETENTION[table] * 86_400_000);
      await this.dataSource.query(`DELETE FROM ${table}_default WHERE at < $1`, [before]);
    }
  }

  private async step(work: (manager: EntityManager) => Promise<void>): Promise<void> {
    await this.dataSource.transaction(async (manager) => {
      // Everyone queues behind a table lock that waits: give up soon and come back.
      await manager.query(`SET LOCAL lock_timeout = '2s'`);
      await manager.query(`SET LOCAL statement_timeout = '10min'`);
      await work(manager);
    });
  }
}
