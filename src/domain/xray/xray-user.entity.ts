import {
  Column,
  CreateDateColumn,
  Entity,
  Index,
  JoinColumn,
  ManyToOne,
  PrimaryGeneratedColumn,
  type Relation,
} from 'typeorm';
import { User } from '../users/user.entity.js';

/** Why a user whom the operator allows is kept off the engine. */
export type XrayEndedReason = 'expired' | 'limited';

/** Somebody who may connect through the proxy engine. */
@Entity('xray_users')
export class XrayUser {
  /** Also the subject of the traffic ledger. */
  @PrimaryGeneratedColumn('uuid')
  id: string;

  /** As written. */
  @Column('varchar', { length: 255 })
  email: string;

  /** The email without regard to case: unique among users who are not being removed. */
  @Index('xray_users_email_key_key', { unique: true, where: 'removed_at IS NULL' })
  @Column('text')
  emailKey: string;

  /** What the client connects with. Engines mix up two users who share one, so removed ones count as well. */
  @Column('uuid', { unique: true })
  uuid: string;

  /** Grows with each new `uuid`: the engine knows the user by id and generation, so old connections can be told apart. */
  @Column('integer', { default: 1 })
  generation: number;

  @Column('varchar', { length: 128, default: '' })
  alias: string;

  /** The customer whose user this is, when it was sold. */
  @Index('xray_users_owner_id_idx')
  @Column('integer', { nullable: true })
  ownerId: number | null;

  @ManyToOne(() => User, { onDelete: 'SET NULL' })
  @JoinColumn({ name: 'owner_id' })
  owner?: Relation<User>;

  /** What the operator wants. */
  @Column('boolean', { default: true })
  enabled: boolean;

  /** Download and upload together, in bytes; 0 is unlimited. */
  @Column('bigint', { default: 0 })
  trafficLimitBytes: string;

  /** The user is off from this second on; null never. */
  @Index('xray_users_expires_at_idx', { where: 'ended_reason IS NULL AND removed_at IS NULL' })
  @Column('timestamptz', { nullable: true })
  expiresAt: Date | null;

  /** What the poll found: set when past date or quota, cleared when either is raised. */
  @Column('varchar', { length: 8, nullable: true })
  endedReason: XrayEndedReason | null;

  /** Deleted by the operator; the row goes when the last bytes of the last connection are booked. */
  @Index('xray_users_removed_at_idx', { where: 'removed_at IS NOT NULL' })
  @Column('timestamptz', { nullable: true })
  removedAt: Date | null;

  @CreateDateColumn({ type: 'timestamptz' })
  createdAt: Date;

  /** The first poll that saw bytes; the last one stands in the ledger. */
  @Column('timestamptz', { nullable: true })
  firstSeenAt: Date | null;

  /** The last day (UTC) that is counted in `daysUsed`. */
  @Column('date', { nullable: true })
  lastUsedOn: string | null;

  /** Days with traffic. */
  @Column('integer', { default: 0 })
  daysUsed: number;
}
