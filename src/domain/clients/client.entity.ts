import {
  Column,
  CreateDateColumn,
  Entity,
  Index,
  JoinColumn,
  ManyToOne,
  PrimaryGeneratedColumn,
  Unique,
  type Relation,
} from 'typeorm';
import { User } from '../users/user.entity.js';
import { WireguardInterface } from '../interfaces/wireguard-interface.entity.js';

/** Why a client that its operator allows is kept off the device. */
export type EndedReason = 'expired' | 'limited';

/** Somebody who may connect to one WireGuard interface: one key pair, one address. */
@Entity('clients')
@Unique('clients_interface_address_key', ['interfaceId', 'address'])
export class Client {
  @PrimaryGeneratedColumn('uuid')
  id: string;

  @Column('integer')
  interfaceId: number;

  @ManyToOne(() => WireguardInterface, { onDelete: 'RESTRICT' })
  @JoinColumn({ name: 'interface_id' })
  interface?: Relation<WireguardInterface>;

  /** The customer whose client this is, when it was sold. */
  @Index('clients_owner_id_idx')
  @Column('integer', { nullable: true })
  ownerId: number | null;

  @ManyToOne(() => User, { onDelete: 'SET NULL' })
  @JoinColumn({ name: 'owner_id' })
  owner?: Relation<User>;

  /** Unique among clients that are not being removed. */
  @Index('clients_name_key', { unique: true, where: 'removed_at IS NULL' })
  @Column('varchar', { length: 64 })
  name: string;

  /** Bare IPv4 address inside the interface's range. */
  @Column('inet')
  address: string;

  @Column('char', { length: 44, unique: true })
  publicKey: string;

  /** Sealed. */
  @Column('bytea')
  privateKey: Buffer;

  /** Sealed. */
  @Column('bytea')
  presharedKey: Buffer;

  @Column('text', { default: '' })
  note: string;

  /** Download and upload together, in bytes; 0 is unlimited. */
  @Column('bigint', { default: 0 })
  trafficLimitBytes: string;

  /** The client is off from this second on; null never. */
  @Index('clients_expires_at_idx', { where: 'ended_reason IS NULL AND removed_at IS NULL' })
  @Column('timestamptz', { nullable: true })
  expiresAt: Date | null;

  /** What the operator wants. */
  @Column('boolean', { default: true })
  enabled: boolean;

  /** What sync found: set when past date or quota, cleared when either is raised. */
  @Column('varchar', { length: 8, nullable: true })
  endedReason: EndedReason | null;

  /** Deleted by the operator; the row goes, and its address is free again, once its peer is off the device. */
  @Index('clients_removed_at_idx', { where: 'removed_at IS NOT NULL' })
  @Column('timestamptz', { nullable: true })
  removedAt: Date | null;

  @CreateDateColumn({ type: 'timestamptz' })
  createdAt: Date;
}
