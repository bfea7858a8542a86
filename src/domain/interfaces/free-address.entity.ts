import { Entity, PrimaryColumn } from 'typeorm';

/** An address that the next client of an interface may have. Filled in blocks, taken lowest first. */
@Entity('free_addresses')
export class FreeAddress {
  @PrimaryColumn('integer')
  interfaceId: number;

  @PrimaryColumn('inet')
  address: string;
}
