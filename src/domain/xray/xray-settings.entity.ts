import { Column, Entity, PrimaryColumn } from 'typeorm';

/** What the dashboard keeps with us: one row. */
@Entity('xray_settings')
export class XraySettings {
  @PrimaryColumn('smallint')
  id: number;

  /** The front end's own, whatever it is. */
  @Column('jsonb', { default: () => "'{}'" })
  ui: Record<string, unknown>;

  @Column('boolean', { default: true })
  collectorEnabled: boolean;

  /** Text that a front end sends along; kept and never run. */
  @Column('varchar', { length: 255, default: '' })
  collectorScript: string;

  /** When the counters were last booked. */
  @Column('timestamptz', { nullable: true })
  collectedAt: Date | null;

  /** The access log was read up to here. */
  @Column('varchar', { length: 20, nullable: true })
  logInode: string | null;

  @Column('bigint', { default: 0 })
  logPosition: string;
}
