import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { CommandOptions, CommandResult } from './command.js';
import { mustRun, runCommand } from './command.js';
import { addressLines, Namespace, type Subnet, subnet } from './namespace.js';
import type { Server } from './server.js';
import { eventually } from './wait.js';

export interface TransferOptions {
  /**
   * Who is at the other end: `outside` is the tests' own namespace, behind the server and its NAT; `server` is the
   * server's host itself; anything else is an address of the server's namespace. `outside` unless told.
   */
  to?: 'outside' | 'server' | (string & {});
  /** 20 s unless told; what has moved until then is the result. */
  timeoutMs?: number;
}

export interface Transfer {
  /** Payload that arrived (download), or left this side (upload; all of it when complete). */
  bytes: number;
  ms: number;
  /** False when the connection failed, was cut, or the time was up. */
  complete: boolean;
}

export interface ConnectOptions {
  /** In place of the host of `Endpoint`. */
  endpointHost?: string;
}

const script = fileURLToPath(new URL('traffic.mjs', import.meta.url));
const device = 'wg0';

/**
 * Connects as an end user would: a host of its own, with a cable to the server only, and wireguard-go with this client
 * file. The endpoint must be an address of the server, `server.endpointHost`. Close it before the server's cleanup().
 */
export async function connectClient(
  server: Server,
  configText: string,
  options: ConnectOptions = {},
): Promise<WireguardClient> {
  if (server.space === null) throw new Error('A server without a namespace has no clients');
  const config = parseClientFile(configText, options.endpointHost);
  const space = await Namespace.create();
  const client = new WireguardClient(server, space, config, await joinToServer(space, server.space));
  try {
    await client.up();
  } catch (error) {
    await client.close();
    throw error;
  }
  return client;
}

export class WireguardClient {
  private engine: ChildProcess | null = null;
  private readonly listeners: { pid: ChildProcess; port: number; to: string }[] = [];

  constructor(
    private readonly server: Server,
    readonly space: Namespace,
    private readonly config: ClientFile,
    private readonly cable: Subnet,
  ) {}

  /** Makes the tunnel, as `wg-quick up` does. connectClient() has called it. */
  async up(): Promise<void> {
    const host = this.config.endpointHost;
    const gateway = host.includes(':') ? this.cable.near6 : this.cable.near;
    // The way to the endpoint stays on the cable, whatever the tunnel takes; without it the first handshake is lost.
    await this.space.must(['ip', 'route', 'replace', host, 'via', gateway]);
    const argv = ['setpriv', '--pdeathsig', 'KILL', ...this.space.enter(['wireguard-go', '-f', device])];
    const engine = spawn(argv[0]!, argv.slice(1), { stdio: 'ignore', env: { ...process.env, LOG_LEVEL: 'silent' } });
    this.engine = engine;
    await eventually(
      async () => {
        if (engine.exitCode !== null) throw new Error(`wireguard-go ended with ${engine.exitCode}`);
        return (await this.exec(['wg', 'show', device])).code === 0;
      },
      { what: 'the device of a client', intervalMs: 20 },
    );
    await setDeviceConfig(this.space, device, this.config.stripped);
    const lines = [
      ...this.config.addresses.map(
        (address) => `address add ${address} dev ${device}${address.includes(':') ? ' nodad' : ''}`,
      ),
      `link set mtu ${this.config.mtu} up dev ${device}`,
      ...this.config.allowedIps.map((range) => `route replace ${range} dev ${device}`),
    ];
    await this.space.must(['ip', '-batch', '-'], { input: `${lines.join('\n')}\n` });
  }

  /** Ends the tunnel as `wg-quick down` does; up() brings it back with new sessions. */
  async down(): Promise<void> {
    const engine = this.engine;
    this.engine = null;
    if (engine === null || engine.exitCode !== null || engine.signalCode !== null) return;
    const ended = once(engine, 'exit');
    engine.kill('SIGTERM');
    await ended;
  }

  /** The tunnel addresses, without prefix length. */
  get addresses(): string[] {
    return this.config.addresses.map((address) => address.split('/')[0]!);
  }

  /** One echo; true when it came back within `timeoutSeconds` (1 unless told). */
  async ping(address: string, timeoutSeconds = 1): Promise<boolean> {
    const argv = ['ping', '-n', '-q', '-c', '1', '-W', String(timeoutSeconds), address];
    return (await this.exec(argv, { timeoutMs: timeoutSeconds * 1000 + 5_000 })).code === 0;
  }

  /** Fetches this many bytes through the tunnel. A cut tunnel gives what came until then. */
  download(bytes: number, options: TransferOptions = {}): Promise<Transfer> {
    return this.transfer('download', bytes, options);
  }

  /** Sends this many bytes through the tunnel. */
  upload(bytes: number, options: TransferOptions = {}): Promise<Transfer> {
    return this.transfer('upload', bytes, options);
  }

  /** Seconds since the newest handshake; null when there was none. */
  async handshakeAge(): Promise<number | null> {
    const output = await this.space.must(['wg', 'show', device, 'latest-handshakes']);
    const newest = Math.max(
      0,
      ...output
        .trim()
        .split('\n')
        .map((line) => Number(line.split('\t')[1] ?? 0)),
    );
    return newest === 0 ? null : Math.floor(Date.now() / 1000) - newest;
  }

  /** Runs a program on the client's host. */
  exec(argv: readonly string[], options?: CommandOptions): Promise<CommandResult> {
    return this.space.exec(argv, options);
  }

  async close(): Promise<void> {
    for (const { pid } of this.listeners) pid.kill('SIGKILL');
    await this.down();
    await runCommand(this.server.space!.enter(['ip', 'link', 'delete', cableName(this.cable)]));
    await this.space.close();
  }

  private async transfer(verb: 'download' | 'upload', bytes: number, options: TransferOptions): Promise<Transfer> {
    const to = options.to ?? 'outside';
    const address = to === 'outside' ? this.server.outsideHost : to === 'server' ? this.server.host : to;
    const port = await this.listen(address, to === 'outside');
    const timeoutMs = options.timeoutMs ?? 20_000;
    const argv = [process.execPath, script, verb, address, String(port), String(bytes), String(timeoutMs)];
    const output = await this.space.must(argv, { timeoutMs: timeoutMs + 10_000 });
    return JSON.parse(output) as Transfer;
  }

  /** A traffic server on this address, started once. */
  private async listen(address: string, outside: boolean): Promise<number> {
    const known = this.listeners.find(({ to }) => to === address);
    if (known !== undefined) return known.port;
    const program = [process.execPath, script, 'serve', address];
    const argv = ['setpriv', '--pdeathsig', 'KILL', ...(outside ? program : this.server.space!.enter(program))];
    const child = spawn(argv[0]!, argv.slice(1), { stdio: ['ignore', 'pipe', 'inherit'] });
    const ended = once(child, 'exit').then(() => {
      throw new Error(`No traffic server on ${address}`);
    });
    ended.catch(() => {});
    const [line] = (await Promise.race([once(createInterface({ input: child.stdout }), 'line'), ended])) as [string];
    this.listeners.push({ pid: child, port: Number(line), to: address });
    return Number(line);
  }
}

/** `wg setconf` with this text. wg opens its standard input by name, which Node's own pipes do not allow. */
export async function setDeviceConfig(space: Namespace, name: string, text: string): Promise<void> {
  await space.must(['sh', '-c', 'cat | wg setconf "$0" /dev/stdin', name], { input: text });
}

interface ClientFile {
  /** What `wg setconf` takes: the file without the keys of wg-quick. */
  stripped: string;
  addresses: string[];
  mtu: number;
  allowedIps: string[];
  endpointHost: string;
}

/** Reads a client file as wg-quick does; anything it would not understand is an error. */
export function parseClientFile(text: string, endpointHost?: string): ClientFile {
  const file: ClientFile = { stripped: '', addresses: [], mtu: 1420, allowedIps: [], endpointHost: '' };
  let section = '';
  for (const raw of text.split(/\r?\n/)) {
    const line = raw.replace(/#.*/, '').trim();
    if (line === '') continue;
    if (/^\[(interface|peer)\]$/i.test(line)) {
      section = line.toLowerCase();
      file.stripped += `${line}\n`;
      continue;
    }
    const match = /^(\w+)\s*=\s*(.*)$/.exec(line);
    if (match === null || section === '') throw new Error(`Not a client file, at: ${line}`);
    const key = match[1]!.toLowerCase();
    const value = match[2]!.trim();
    const list = value.split(',').map((part) => part.trim());
    if (section === '[interface]' && key === 'address') file.addresses.push(...list);
    else if (section === '[interface]' && key === 'mtu') file.mtu = Number(value);
    else if (section === '[interface]' && key === 'dns') continue;
    else if (section === '[peer]' && key === 'endpoint') {
      const [, host = '', port = ''] = /^\[?([^\]]*?)\]?:(\d+)$/.exec(value) ?? [];
      file.endpointHost = endpointHost ?? host;
      file.stripped += `Endpoint = ${file.endpointHost.includes(':') ? `[${file.endpointHost}]` : file.endpointHost}:${port}\n`;
    } else {
      if (section === '[peer]' && key === 'allowedips') file.allowedIps.push(...list);
      file.stripped += `${line}\n`;
    }
  }
  return file;
}

function cableName(cable: Subnet): string {
  return `c${cable.index}`;
}

/** A cable between a client's host and the server's: `eth0` at the client. */
async function joinToServer(client: Namespace, server: Namespace): Promise<Subnet> {
  for (;;) {
    // The upper half of the numbers: the lower one is for the cables to the tests.
    const cable = subnet(16_001 + Math.floor(Math.random() * 16_000));
    const name = cableName(cable);
    const argv = ['ip', 'link', 'add', name, 'netns', String(server.pid), 'type', 'veth'];
    const made = await runCommand([...argv, 'peer', 'name', 'eth0', 'netns', String(client.pid)]);
    if (made.code !== 0 && made.stderr.includes('File exists')) continue;
    if (made.code !== 0) throw new Error(made.stderr);
    await mustRun(server.enter(['ip', '-batch', '-']), { input: addressLines(name, cable.near, cable.near6) });
    await client.must(['ip', '-batch', '-'], { input: addressLines('eth0', cable.far, cable.far6) });
    return cable;
  }
}
