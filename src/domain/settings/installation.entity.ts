import { Check, Column, Entity, PrimaryColumn } from 'typeorm';

/** What is true of the whole installation: one row, made by the first start. */
@Entity('installation')
@Check('installation_single_row_check', 'id = 1')
export class Installation {
  /** Always 1. */
  @PrimaryColumn('smallint')
  id: number;

  /** Marks what is ours on engines that others use too. */
  @Column('uuid')
  installationId: string;

  /** A known text sealed with the secret key; a wrong key does not open it. */
  @Column('bytea')
  keyCheck: Buffer;

  /** X25519, 32 bytes. The phrase behind it is kept nowhere. */
  @Column('bytea')
  recoveryPublicKey: Buffer;

  @Column('timestamptz')
  createdAt: Date;
}
