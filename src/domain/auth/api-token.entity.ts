import { Column, CreateDateColumn, Entity, PrimaryColumn } from 'typeorm';

export type ApiTokenScope = 'admin' | 'payments:verify';

/** A long-lived bearer token that an operator named and chose. */
@Entity('api_tokens')
export class ApiToken {
  @PrimaryColumn('varchar', { length: 64 })
  name: string;

  /** Sealed: the contract shows the value again on request. */
  @Column('bytea')
  token: Buffer;

  /** HMAC-SHA256 of the value under a derived key: found by one indexed look-up. */
  @Column('bytea', { unique: true })
  tokenHash: Buffer;

  @Column('varchar', { length: 32, default: 'admin' })
  scope: ApiTokenScope;

  @CreateDateColumn({ type: 'timestamptz' })
  createdAt: Date;
}
