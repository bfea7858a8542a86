import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import type { CommandOptions, CommandResult } from './command.js';
import { runCommand } from './command.js';
import { createDatabase, type TestDatabase } from './database.js';
import { request } from './http.js';
import { joinToTests, Namespace } from './namespace.js';
import { runFact } from './run.js';
import { eventually } from './wait.js';

export interface ServerOptions {
  /** On top of the defaults; an empty string is the same as unset. */
  env?: Record<string, string>;
  /** A database that the caller made and drops; without one the server gets its own, dropped by cleanup(). */
  database?: TestDatabase;
  /** No DATABASE_URL: the product's embedded PostgreSQL. */
  embedded?: boolean;
  /** False: no namespace of its own, on 127.0.0.1 and a free port, WIREGUARD=off, XRAY=off. */
  namespace?: boolean;
  /** What the process must answer before it counts as started; `/healthz` unless told. */
  ready?: string;
  /** 60 s unless told. */
  startTimeoutMs?: number;
}

const port = 8000;
// The root of a user namespace cannot become anybody else, which an embedded PostgreSQL needs of root.
const asPlainUser = ['unshare', '--user', '--map-user=1000', '--map-group=1000'];

/** Starts the built product, waits until it answers, and throws with its log when it ends or takes too long. */
export async function startServer(options: ServerOptions = {}): Promise<Server> {
  const server = await Server.prepare(options);
  try {
    await server.start();
  } catch (error) {
    await server.cleanup();
    throw error;
  }
  return server;
}

/** One real server process in surroundings of its own, which outlive its restarts. */
export class Server {
  private process: ChildProcess | null = null;
  private output = '';

  private constructor(
    private readonly options: ServerOptions,
    /** All of the environment that the next start gets. */
    readonly env: Record<string, string>,
    readonly dataDir: string,
    /** Address of the server as the tests, and VPN clients, reach it. */
    readonly host: string,
    readonly url: string,
    /** Address of the tests as the server, and all behind its tunnels, reach them: the internet, so to speak. */
    readonly outsideHost: string,
    readonly outsideHost6: string,
    readonly database: TestDatabase | null,
    readonly space: Namespace | null,
    private readonly veth: string | null,
  ) {}

  /** Makes database, folder and namespace, and starts nothing yet. */
  static async prepare(options: ServerOptions): Promise<Server> {
    const dataDir = await mkdtemp(join(runFact('CAUSEWAY_TEST_FOLDER'), 'data-'));
    const own = options.embedded || options.database ? null : await createDatabase();
    const database = options.embedded ? null : (options.database ?? own);
    const space = options.namespace === false ? null : await Namespace.create();
    const net = space === null ? null : await joinToTests(space);
    const listen = space === null ? await freePort() : port;
    const host = net?.far ?? '127.0.0.1';
    const env: Record<string, string> = {
      PATH: process.env['PATH'] ?? '',
      HOME: dataDir,
      PORT: String(listen),
      DATA_DIR: dataDir,
      LOG_LEVEL: 'info',
      RATE_LIMITS: 'off',
      WIREGUARD: space === null ? 'off' : 'auto',
      // An engine outlives its server: without a namespace nothing would end it.
      XRAY: space === null ? 'off' : 'auto',
      ...(process.env['XRAY_BIN'] ? { XRAY_BIN: process.env['XRAY_BIN'] } : {}),
      SECRET_KEY: randomBytes(32).toString('base64'),
      ...(database === null ? {} : { DATABASE_URL: database.url }),
      ...options.env,
    };
    const url = `http://${host}:${listen}`;
    const veth = net === null ? null : `t${net.index}`;
    const outside = [net?.near ?? '127.0.0.1', net?.near6 ?? '::1'] as const;
    return new Server(options, env, dataDir, host, url, ...outside, database, space, veth);
  }

  /** What to install as `server_ip` / host of the endpoint, so that clients of connectClient() reach it. */
  get endpointHost(): string {
    return this.host;
  }

  /** Pid of the running process; throws when there is none. */
  get pid(): number {
    if (this.process?.pid === undefined) throw new Error('The server is not running');
    return this.process.pid;
  }

  get running(): boolean {
    return this.process !== null && this.process.exitCode === null && this.process.signalCode === null;
  }

  /** Path of its network namespace, for `nsenter --net=<path>`. */
  get namespace(): string {
    if (this.space === null) throw new Error('This server has no namespace of its own');
    return this.space.path;
  }

  /** All that it printed, over all its starts. */
  logs(): string {
    return this.output;
  }

  /** Starts it again in the same surroundings and waits until it answers. */
  async start(): Promise<void> {
    if (this.running) throw new Error('The server is running already');
    const plainUser = this.options.embedded && process.env['CAUSEWAY_TEST_MODE'] === 'userns' ? asPlainUser : [];
    const program = [...plainUser, process.execPath, join(runFact('CAUSEWAY_TEST_PRODUCT'), 'dist/main.js')];
    const argv = ['setpriv', '--pdeathsig', 'KILL', ...(this.space?.enter(program) ?? program)];
    const child = spawn(argv[0]!, argv.slice(1), { cwd: '/', env: this.env, stdio: ['ignore', 'pipe', 'pipe'] });
    this.process = child;
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => (this.output += text));
    }
    const path = this.options.ready ?? '/healthz';
    const timeoutMs = this.options.startTimeoutMs ?? 60_000;
    const until = Date.now() + timeoutMs;
    let told = '';
    await eventually(
      async () => {
        if (!this.running || Date.now() > until) return true;
        const answer = await request(this, 'GET', path, { timeoutMs: 2_000 });
        told = `, ${path} said ${answer.status} ${answer.text.slice(0, 300)}`;
        return answer.status === 200 && (told = 'yes');
      },
      { timeoutMs: timeoutMs + 5_000, intervalMs: 50 },
    );
    if (told === 'yes') return;
    const why = this.running ? `did not answer in ${timeoutMs} ms${told}` : `ended with ${this.ending(child)}`;
    throw new Error(`The server ${why}. Its log:\n${this.output.slice(-8_000)}`);
  }

  /** SIGTERM, then waits for the end. Returns its exit code. Throws when it does not end in time (30 s unless told). */
  async stop(timeoutMs = 30_000): Promise<number> {
    const child = this.process;
    if (child === null) return 0;
    if (this.running) {
      child.kill('SIGTERM');
      await this.end(child, timeoutMs);
    }
    return child.exitCode ?? -1;
  }

  /** Ends this process as a crash would. What it had started lives on. */
  async kill9(): Promise<void> {
    const child = this.process;
    if (child === null || !this.running) return;
    child.kill('SIGKILL');
    await this.end(child, 10_000);
  }

  /** stop() if it runs, then start(): same database, data folder and namespaces. `env` changes variables for good. */
  async restart(env: Record<string, string> = {}): Promise<void> {
    await this.stop();
    Object.assign(this.env, env);
    await this.start();
  }

  /** Waits until the process has ended by itself. Returns its exit code, -1 after a signal. */
  async exited(timeoutMs = 30_000): Promise<number> {
    const child = this.process;
    if (child === null) throw new Error('The server was not started');
    await this.end(child, timeoutMs);
    return child.exitCode ?? -1;
  }

  /** Runs a program in the server's namespaces, such as `['wg', 'show']`. Its failure is a result, not an error. */
  exec(argv: readonly string[], options?: CommandOptions): Promise<CommandResult> {
    return this.space === null ? runCommand(argv, options) : this.space.exec(argv, options);
  }

  /** Ends it and all that it started, and takes away all that was made for it. May be called twice. */
  async cleanup(): Promise<void> {
    // Without a namespace nothing else would end what it started.
    if (this.space === null) await this.stop();
    else await this.kill9();
    if (this.veth !== null) await runCommand(['ip', 'link', 'delete', this.veth]);
    await this.space?.close();
    if (this.options.database === undefined) await this.database?.drop();
    await rm(this.dataDir, { recursive: true, force: true });
  }

  private async end(child: ChildProcess, timeoutMs: number): Promise<void> {
    await eventually(() => child.exitCode !== null || child.signalCode !== null, {
      timeoutMs,
      intervalMs: 10,
      what: 'the end of the server',
    });
  }

  private ending(child: ChildProcess): string {
    return child.signalCode ?? `exit code ${child.exitCode}`;
  }
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const address = probe.address();
  probe.close();
  await once(probe, 'close');
  if (address === null || typeof address === 'string') throw new Error('No port');
  return address.port;
}
