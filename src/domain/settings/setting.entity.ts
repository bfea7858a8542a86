import { Column, Entity, PrimaryColumn } from 'typeorm';

/** One setting that differs from its default. Exactly one of `value` and `sealed` is set. */
@Entity('settings')
export class Setting {
  @PrimaryColumn('varchar', { length: 64 })
  key: string;

  @Column('text', { nullable: true })
  value: string | null;

  /** The value of a secret setting, encrypted. */
  @Column('bytea', { nullable: true })
  sealed: Buffer | null;
}
