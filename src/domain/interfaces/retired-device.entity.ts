import { Entity, PrimaryColumn } from 'typeorm';

/** A device of ours whose interface is gone: the engine takes it away and then deletes the row. */
@Entity('retired_devices')
export class RetiredDevice {
  /** The number in the device's name. */
  @PrimaryColumn('integer')
  number: number;

  /** Proves that a device of this name is the one meant. */
  @PrimaryColumn('char', { length: 44 })
  publicKey: string;
}
