import { Global, Module } from '@nestjs/common';
import { TunnelPort } from '../domain/tunnels/tunnel.port.js';
import { WireguardDriver } from './wireguard/wireguard.driver.js';

/** Binds each port of the domain to the technology that does the work. Imported by the application's root alone. */
@Global()
@Module({
  providers: [{ provide: TunnelPort, useClass: WireguardDriver }],
  exports: [TunnelPort],
})
export class DriversModule {}
