import { createSocket } from 'node:dgram';
import { connect, isIPv6 } from 'node:net';
import { Injectable } from '@nestjs/common';
import { Config } from '../../platform/config/config.js';
import { interfaceName, InterfacesService } from '../interfaces/interfaces.service.js';
import { XrayInboundsService } from '../xray/xray-inbounds.service.js';

/** A port that this installation is meant to serve, and whether it does. */
export interface ServedPort {
  port: number;
  protocol: 'tcp' | 'udp';
  service: 'http' | 'wireguard' | 'xray';
  /** `http`, the name of a device, the tag of an inbound. */
  name: string;
  running: boolean;
  /** One sentence for an operator. */
  message: string;
}

type WantedPort = Omit<ServedPort, 'running' | 'message'> & { host: string };

const TCP_LIMIT_MS = 1_500;
/** A port of this host that nobody has is refused at once; whoever has it does not answer nonsense. */
const UDP_SILENCE_MS = 300;

/** The ports that we are meant to serve, each really tried. */
@Injectable()
export class PortsService {
  constructor(
    private readonly config: Config,
    private readonly interfaces: InterfacesService,
    private readonly inbounds: XrayInboundsService,
  ) {}

  /** Tries all at once; takes two seconds at most. */
  async probe(): Promise<ServedPort[]> {
    const wanted = await this.wanted();
    return Promise.all(
      wanted.map(async ({ host, ...port }) => {
        const fault = await (port.protocol === 'tcp' ? tcpFault(host, port.port) : udpFault(host, port.port));
        const message = fault === null ? 'It answers' : `Nothing serves it: ${fault}`;
        return { ...port, running: fault === null, message };
      }),
    );
  }

  private async wanted(): Promise<WantedPort[]> {
    const { port, xrayApi } = this.config;
    const [interfaces, inbound] = await Promise.all([this.interfaces.list(), this.inbounds.find()]);
    const own = localHost(this.config.host);
    return [
      // 0 was any free port, which only the listening socket knows.
      ...(port === 0 ? [] : [{ port, protocol: 'tcp', service: 'http', name: 'http', host: own } as const]),
      ...interfaces
        .filter(({ enabled }) => enabled)
        .map(({ number, listenPort }) => ({
          port: listenPort,
          protocol: 'udp' as const,
          service: 'wireguard' as const,
          name: interfaceName(number),
          host: '127.0.0.1',
        })),
      ...(inbound === null || this.config.xray === 'off'
        ? []
        : [
            {
              port: inbound.serverPort,
              protocol: 'tcp' as const,
              service: 'xray' as const,
              name: inbound.inboundTag,
              host: xrayApi === null ? '127.0.0.1' : hostOf(xrayApi),
            },
          ]),
    ];
  }
}

function localHost(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1';
  return host === '::' ? '::1' : host;
}

/** Of `host:port`, where an IPv6 address stands in brackets. */
function hostOf(address: string): string {
  return address.slice(0, address.lastIndexOf(':')).replace(/^\[(.*)\]$/, '$1');
}

/** Null: somebody takes connections. */
function tcpFault(host: string, port: number): Promise<string | null> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const end = (fault: string | null) => {
      socket.destroy();
      resolve(fault);
    };
    socket.setTimeout(TCP_LIMIT_MS, () => end('no answer in time'));
    socket.once('connect', () => end(null)).once('error', (error) => end(codeOf(error)));
  });
}

/** Null: the datagram was not refused. */
function udpFault(host: string, port: number): Promise<string | null> {
  return new Promise((resolve) => {
    const socket = createSocket(isIPv6(host) ? 'udp6' : 'udp4');
    let timer: NodeJS.Timeout | undefined;
    let ended = false;
    const end = (fault: string | null) => {
      if (ended) return;
      ended = true;
      clearTimeout(timer);
      socket.close();
      resolve(fault);
    };
    // A refusal comes back as an error of a connected socket.
    socket.on('error', (error) => end(codeOf(error)));
    socket.connect(port, host, () => {
      socket.send(Buffer.from([0]), (error) => {
        if (error) end(codeOf(error));
        else timer = setTimeout(() => end(null), UDP_SILENCE_MS);
      });
    });
  });
}

function codeOf(error: Error): string {
  const code = (error as NodeJS.ErrnoException).code ?? error.name;
  return code === 'ECONNREFUSED' ? 'the connection is refused' : code;
}
