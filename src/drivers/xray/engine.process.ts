import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type ProxyFamily, ProxyRefusedError, ProxyUnavailableError } from '../../domain/xray/proxy-engine.port.js';
import { holdsSocket, tcpListeners } from '../host/listening.sockets.js';
import { endProcess, keepLogShort, settled, startDetached } from '../host/process.control.js';
import {
  type ProcessIdentity,
  bootId,
  commandLineOf,
  environmentOf,
  findProcesses,
  isAlive,
  networkNamespaceOf,
  startTimeOf,
} from '../host/process.identity.js';
import { readState, removeState, writeState } from '../host/state.file.js';
import { EngineApi } from './engine.api.js';
import { type EngineProgram, complaintOf, serveArguments } from './engine.program.js';

/** In the engine's environment: tells it from another program that was given the path of our config. */
const MARK = 'CAUSEWAY_ENGINE';
const START_TIMEOUT_MS = 10_000;
const PROBE_TIMEOUT_MS = 1_000;
/** A socket's path has room for 107 bytes. */
const SOCKET_PATH_LIMIT = 107;

/** What proves later that a process is the engine that we started. Kept as `DATA_DIR/xray/engine.json`. */
interface EngineRecord {
  bootId: string;
  family: ProxyFamily;
  version: string;
  /** Absent between the intent and the start. */
  pid?: number;
  startTime?: number;
}

/** An engine process of ours that runs. */
export interface RunningEngine {
  process: ProcessIdentity;
  family: ProxyFamily;
  version: string;
}

/** The one engine process of a folder: started in a session of its own, found again, ended. */
export class EngineProcess {
  readonly configPath: string;
  readonly socketPath: string;
  private readonly recordPath: string;
  private readonly logPath: string;

  constructor(folder: string) {
    this.configPath = join(folder, 'config.json');
    this.socketPath = join(folder, 'api.sock');
    this.recordPath = join(folder, 'engine.json');
    this.logPath = join(folder, 'engine.log');
  }

  /** For a gRPC client. */
  get target(): string {
    return `unix:${this.socketPath}`;
  }

  get socketPathFits(): boolean {
    return Buffer.byteLength(this.socketPath) <= SOCKET_PATH_LIMIT;
  }

  /** The engine that we started, now or in an earlier life; null when none runs. */
  async find(): Promise<RunningEngine | null> {
    const record = await readState<EngineRecord>(this.recordPath);
    if (record === null || record.bootId !== (await bootId())) return null;
    const { pid, startTime, family, version } = record;
    if (family === undefined || version === undefined) return null;
    if (pid === undefined || startTime === undefined) {
      const [process] = await this.findAll();
      return process === undefined ? null : { process, family, version };
    }
    const process = { pid, startTime };
    const ours = (await isAlive(process)) && (await commandLineOf(pid)).at(-1) === this.configPath;
    return ours ? { process, family, version } : null;
  }

  /** Whether it lives in another network namespace than we do: then it serves nobody here. */
  async isElsewhere(engine: RunningEngine): Promise<boolean> {
    return (await networkNamespaceOf(engine.process.pid)) !== (await networkNamespaceOf());
  }

  /**
   * Starts the program with the config that lies at `configPath`, and waits until it answers and listens on all ports.
   * Throws ProxyRefusedError with its complaint when it ends, ProxyUnavailableError when it takes too long.
   */
  async start(program: EngineProgram, ports: readonly number[]): Promise<RunningEngine> {
    for (const left of await this.findAll()) await this.end(left, false);
    // A killed engine leaves its socket behind, and cannot bind over it.
    for (const path of [this.socketPath, `${this.socketPath}.lock`]) await rm(path, { recursive: true, force: true });
    const { family, version } = program;
    const record: EngineRecord = { bootId: await bootId(), family, version };
    // Before the process is there: a crash after its start still leaves it known as ours, by the mark.
    await writeState(this.recordPath, record);
    const args = serveArguments(program, this.configPath);
    const pid = await startDetached(program.path, args, { [MARK]: this.configPath }, this.logPath).catch((error) => {
      throw new ProxyUnavailableError(`The engine could not be started: ${(error as Error).message}`);
    });
    const startTime = await startTimeOf(pid);
    if (startTime === null) throw await this.failure();
    const process = { pid, startTime };
    await writeState(this.recordPath, { ...record, pid, startTime });
    await this.awaitReady(process, family, ports);
    return { process, family, version };
  }

  /** Ends it. Throws ProxyUnavailableError when it does not go. */
  async end(process: ProcessIdentity, hangs: boolean): Promise<void> {
    if (await endProcess(process, hangs)) return;
    throw new ProxyUnavailableError(`The engine's process ${process.pid} cannot be ended`);
  }

  /** Nothing of an engine is left to be found. */
  async forget(): Promise<void> {
    await removeState(this.recordPath);
  }

  async keepLogShort(): Promise<void> {
    await keepLogShort(this.logPath);
  }

  private async awaitReady(process: ProcessIdentity, family: ProxyFamily, ports: readonly number[]): Promise<void> {
    const api = new EngineApi(this.target, family);
    let dead = false;
    try {
      const ready = await settled(async () => {
        dead = !(await isAlive(process));
        if (dead) return true;
        // It answers while it has yet to find out that it cannot listen.
        for (const port of ports) if (!(await holdsSocket(process.pid, await tcpListeners(port)))) return false;
        return api.uptimeSeconds(PROBE_TIMEOUT_MS).then(
          () => true,
          () => false,
        );
      }, START_TIMEOUT_MS);
      if (dead) throw await this.failure();
      if (ready) return;
    } finally {
      api.close();
    }
    await this.end(process, true);
    throw new ProxyUnavailableError('The engine did not come up in time');
  }

  private async failure(): Promise<ProxyRefusedError> {
    const complaint = complaintOf(await readFile(this.logPath, 'utf8').catch(() => ''));
    const port = /:(\d{1,5}): bind: address already in use/.exec(complaint)?.[1];
    if (port !== undefined) return new ProxyRefusedError(`The port ${port} is in use`);
    return new ProxyRefusedError(`The engine ended at its start: ${complaint}`);
  }

  private async findAll(): Promise<ProcessIdentity[]> {
    const found = await findProcesses((commandLine) => commandLine.at(-1) === this.configPath);
    const marks = await Promise.all(found.map(({ pid }) => environmentOf(pid, MARK)));
    return found.filter((_, index) => marks[index] === this.configPath);
  }
}
