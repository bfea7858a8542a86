import { Check, Column, CreateDateColumn, Entity, PrimaryGeneratedColumn } from 'typeorm';

export type Role = 'admin' | 'user';

/** A person who may sign in: an operator (`admin`) or a customer (`user`). */
@Entity('users')
@Check('users_role_check', `role IN ('admin', 'user')`)
export class User {
  @PrimaryGeneratedColumn('identity', { generatedIdentity: 'ALWAYS' })
  id: number;

  @Column('varchar', { length: 150, unique: true })
  username: string;

  @Column('text')
  passwordHash: string;

  /** The password was accepted though it is shorter than the rule allows; shown as an alert until it is changed. */
  @Column('boolean', { default: false })
  passwordWeak: boolean;

  @Column('varchar', { length: 8 })
  role: Role;

  @Column('varchar', { length: 254, nullable: true })
  email: string | null;

  @Column('varchar', { length: 150, default: '' })
  firstName: string;

  @Column('varchar', { length: 150, default: '' })
  lastName: string;

  @Column('varchar', { length: 32, nullable: true, unique: true })
  telegramId: string | null;

  @Column('boolean', { default: true })
  isActive: boolean;

  /** Part of every token; raising it ends all tokens of this user. */
  @Column('integer', { default: 1 })
  tokenVersion: number;

  /** Sealed. Set while enrolment is open or done; only `totpEnabled` makes it count. */
  @Column('bytea', { nullable: true })
  totpSecret: Buffer | null;

  @Column('boolean', { default: false })
  totpEnabled: boolean;

  /** The last 30-second step whose code was used: a code counts once. */
  @Column('integer', { default: 0 })
  totpLastStep: number;

  @CreateDateColumn({ type: 'timestamptz' })
  createdAt: Date;
}
