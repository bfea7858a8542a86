import { createSocket } from 'node:dgram';

/**
 * The address that this host sends from towards the internet, by its default route; null when there is none. Asks the
 * kernel by connecting a UDP socket, which sends nothing.
 */
export function defaultRouteAddress(): Promise<string | null> {
  return new Promise((resolve) => {
    const socket = createSocket('udp4');
    const finish = (address: string | null): void => {
      socket.close();
      resolve(address);
    };
    socket.once('error', () => finish(null));
    socket.connect(9, '192.0.2.1', () => finish(socket.address().address));
  });
}
