import { Column, CreateDateColumn, Entity, Exclusion, PrimaryGeneratedColumn } from 'typeorm';

/** A WireGuard device that should exist on this host, named `wg<number>`. */
@Entity('wireguard_interfaces')
@Exclusion('wireguard_interfaces_range_excl', 'USING gist ("range" inet_ops WITH &&)')
export class WireguardInterface {
  @PrimaryGeneratedColumn('identity', { generatedIdentity: 'ALWAYS' })
  id: number;

  /** The number in the device's name. */
  @Column('integer', { unique: true })
  number: number;

  /** The server's own address with prefix length, as the operator wrote it: `10.0.0.1/24`. */
  @Column('inet')
  address: string;

  /** The network of `address`; ranges of two interfaces never overlap. */
  @Column('cidr')
  range: string;

  /**
   * The /64 that its clients have addresses of beside those of `range`: the host number is the same in both. Null on a
   * host without IPv6.
   */
  @Column('cidr', { nullable: true })
  ipv6Range: string | null;

  @Column('integer', { unique: true })
  listenPort: number;

  /** Sealed. */
  @Column('bytea')
  privateKey: Buffer;

  @Column('char', { length: 44, unique: true })
  publicKey: string;

  /** An operator wants the device to exist. */
  @Column('boolean', { default: true })
  enabled: boolean;

  /** The first host number of `range` that was never handed to the pool of free addresses. */
  @Column('bigint', { default: 1 })
  nextHost: string;

  /** When the device was last made anew because the setting `reset_time` asks for it. */
  @Column('timestamptz', { default: () => 'now()' })
  restartedAt: Date;

  @CreateDateColumn({ type: 'timestamptz' })
  createdAt: Date;
}
