import { Column, Entity, Index, PrimaryColumn } from 'typeorm';

export type EventSeverity = 'INFO' | 'WARN' | 'ERROR';

/** What happened, append-only. The table is partitioned by month of `at`, so the key holds both. */
@Entity('events')
@Index(['type', 'at'])
export class AuditEvent {
  @PrimaryColumn('bigint', { generated: 'identity', generatedIdentity: 'ALWAYS' })
  id: string;

  @PrimaryColumn('timestamptz', { default: () => 'now()' })
  at: Date;

  /** Upper-case family: USER, CLIENT, INTERFACE, SETTINGS, AUTH, ENGINE, SYSTEM, ... */
  @Column('varchar', { length: 32 })
  type: string;

  @Column('varchar', { length: 8, default: 'INFO' })
  severity: EventSeverity;

  /** The part of the product: wireguard, xray, auth, ... */
  @Column('varchar', { length: 32 })
  service: string;

  /** A verb phrase in snake case: `client_created`. */
  @Column('varchar', { length: 64 })
  action: string;

  /** User name, `token:<name>`, or `system`. */
  @Column('varchar', { length: 200, default: 'system' })
  actor: string;

  @Column('varchar', { length: 64, nullable: true })
  ip: string | null;

  /** What it was done to: a name or an id. */
  @Column('varchar', { length: 255, nullable: true })
  target: string | null;

  @Column('text')
  message: string;

  /** Before and after, without secrets. */
  @Column('jsonb', { default: () => "'{}'" })
  details: Record<string, unknown>;
}
