import { Entity, JoinColumn, ManyToOne, PrimaryColumn, type Relation } from 'typeorm';
import { WireguardInterface } from './wireguard-interface.entity.js';

/** An address that the next client of an interface may have. Filled in blocks, taken lowest first. */
@Entity('free_addresses')
export class FreeAddress {
  @PrimaryColumn('integer')
  interfaceId: number;

  @ManyToOne(() => WireguardInterface, { onDelete: 'CASCADE' })
  @JoinColumn({ name: 'interface_id' })
  interface?: Relation<WireguardInterface>;

  @PrimaryColumn('inet')
  address: string;
}
