import { Global, Module } from '@nestjs/common';
import { TunnelPort } from '../domain/tunnels/tunnel.port.js';
import { ProxyEnginePort } from '../domain/xray/proxy-engine.port.js';
import { WireguardDriver } from './wireguard/wireguard.driver.js';
import { XrayDriver } from './xray/xray.driver.js';

/** Binds each port of the domain to the technology that does the work. Imported by the application's root alone. */
@Global()
@Module({
  providers: [
    { provide: TunnelPort, useClass: WireguardDriver },
    { provide: ProxyEnginePort, useClass: XrayDriver },
  ],
  exports: [TunnelPort, ProxyEnginePort],
})
export class DriversModule {}
