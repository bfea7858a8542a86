import { Column, Entity, PrimaryColumn } from 'typeorm';
import type { ProxyFlow, ProxyNetwork, ProxyProtocol, ProxySecurity } from './proxy-engine.port.js';

/** The one way in for clients, and what their links say of it. */
@Entity('xray_inbounds')
export class XrayInbound {
  @PrimaryColumn('smallint')
  id: number;

  /** Host in links; empty: the endpoint host of the settings. */
  @Column('varchar', { length: 253, default: '' })
  serverHost: string;

  @Column('integer')
  serverPort: number;

  @Column('varchar', { length: 64 })
  inboundTag: string;

  @Column('varchar', { length: 8 })
  protocol: ProxyProtocol;

  @Column('varchar', { length: 16 })
  network: ProxyNetwork;

  /** ws, xhttp, httpupgrade: with its leading slash; grpc: the service name. */
  @Column('varchar', { length: 255, default: '' })
  path: string;

  @Column('varchar', { length: 8 })
  security: ProxySecurity;

  /** Server name that clients ask for; with reality the site that is borrowed. */
  @Column('varchar', { length: 253, default: '' })
  sni: string;

  /** The browser whose TLS handshake clients imitate. */
  @Column('varchar', { length: 32, default: 'chrome' })
  fp: string;

  @Column('varchar', { length: 32, default: '' })
  flow: ProxyFlow;

  /** Short id of reality, hex. */
  @Column('varchar', { length: 16, default: '' })
  sid: string;

  /** `host:port` of the site that reality borrows. */
  @Column('varchar', { length: 259, default: '' })
  dest: string;

  /** Sealed. */
  @Column('bytea')
  realityPrivateKey: Buffer;

  @Column('varchar', { length: 64 })
  realityPublicKey: string;

  /** Files that the engine reads; empty when PEM text is stored. */
  @Column('text', { default: '' })
  certificateFile: string;

  @Column('text', { default: '' })
  keyFile: string;

  @Column('text', { default: '' })
  certificatePem: string;

  /** Sealed. */
  @Column('bytea', { nullable: true })
  keyPem: Buffer | null;

  /** The engine may be restarted when bytes of somebody cut off still move after the grace time. */
  @Column('boolean', { default: false })
  restartToCut: boolean;

  /** Grows with each change. */
  @Column('integer', { default: 0 })
  revision: number;
}
