import { Column, Entity, PrimaryColumn } from 'typeorm';

/**
 * What was counted of one subject (a WireGuard client, a proxy user) since it exists, and of each kind as a whole
 * (`USAGE_KINDS`). Directions are the server's: rx came from the subject (its upload), tx went to it. Written by
 * UsageService alone; joined by anyone who lists subjects: `LEFT JOIN usage_counters u ON u.subject_id = c.id`, no row
 * meaning that nothing was counted yet.
 */
@Entity('usage_counters')
export class UsageCounter {
  @PrimaryColumn('uuid')
  subjectId: string;

  @Column('smallint')
  kind: number;

  /** The life of the engine's counters that `rxLast` and `txLast` belong to. */
  @Column('bigint', { default: 0 })
  epoch: string;

  @Column('bigint', { default: 0 })
  connsTotal: string;

  @Column('bigint', { default: 0 })
  connsBooked: string;

  /** How much of the total the samples already hold. */
  @Column('bigint', { default: 0 })
  rxBooked: string;

  @Column('bigint', { default: 0 })
  txBooked: string;

  /** The engine's own counter when it was last read, in bytes. */
  @Column('bigint', { default: 0 })
  rxLast: string;

  @Column('bigint', { default: 0 })
  txLast: string;

  /** Bytes over all lives of all engines. */
  @Column('bigint', { default: 0 })
  rxTotal: string;

  @Column('bigint', { default: 0 })
  txTotal: string;

  /** WireGuard: the latest handshake. Proxies: the last poll that saw it move. */
  @Column('timestamptz', { nullable: true })
  lastHandshakeAt: Date | null;
}
