import { Column, Entity, PrimaryColumn } from 'typeorm';

/** `up`: driven and answering; `down`: owned but failing; `absent`: this installation has no such engine. */
export type EngineState = 'up' | 'down' | 'absent';

/** What the owner of an engine last saw of it, for processes that do not drive it themselves. */
@Entity('engine_status')
export class EngineStatus {
  @PrimaryColumn('varchar', { length: 64 })
  id: string;

  @Column('varchar', { length: 8 })
  state: EngineState;

  /** One sentence for an operator. */
  @Column('text')
  message: string;

  /** The line that mends it, when something is wrong. */
  @Column('text', { nullable: true })
  hint: string | null;

  @Column('timestamptz')
  seenAt: Date;
}
