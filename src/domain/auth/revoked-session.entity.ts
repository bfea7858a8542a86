import { Column, Entity, Index, PrimaryColumn } from 'typeorm';

/** A token that was logged out before its time. The row goes once the token would have expired anyway. */
@Entity('revoked_sessions')
export class RevokedSession {
  /** The token's `jti`. */
  @PrimaryColumn('uuid')
  id: string;

  @Index('revoked_sessions_expires_at_idx')
  @Column('timestamptz')
  expiresAt: Date;
}
