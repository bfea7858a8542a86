import { readFile, statfs } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { Injectable, type OnApplicationShutdown, type OnModuleInit } from '@nestjs/common';
import { Clock } from '../../platform/clock/clock.js';
import { Config } from '../../platform/config/config.js';
import {
  bytesMoved,
  type CpuTimes,
  type LinkBytes,
  outerLinks,
  parseCpuTimes,
  parseLinks,
  parseLoad,
  parseMemory,
  parseUptime,
} from './proc-files.js';

/** The host at one moment; null is what this system does not tell. */
export interface HostSnapshot {
  sampledAt: Date;
  /** 0 to 100 over all processors, since the sample before; the very first one is since the host started. */
  cpuPercent: number | null;
  cpuCount: number;
  /** Mean number of runnable tasks over 1, 5 and 15 minutes. */
  load1: number | null;
  load5: number | null;
  load15: number | null;
  memoryTotalBytes: number | null;
  /** What programs can still have without swapping. */
  memoryAvailableBytes: number | null;
  /** The total without what is available. */
  memoryUsedBytes: number | null;
  /** Of the file system that DATA_DIR lies on. */
  diskTotalBytes: number | null;
  /** Free for unprivileged programs. */
  diskAvailableBytes: number | null;
  diskUsedBytes: number | null;
  /** Since the host started, over all links to the world: loopback, tunnels and container links count elsewhere. */
  networkRxBytes: number | null;
  networkTxBytes: number | null;
  /** Since the sample before; 0 in the very first one. */
  networkRxBytesPerSecond: number | null;
  networkTxBytesPerSecond: number | null;
  hostUptimeSeconds: number | null;
  /** Resident memory of this process. */
  processMemoryBytes: number;
  processUptimeSeconds: number;
}

const SAMPLE_EVERY_MS = 2_000;
const KEEP_EVERY_MS = 10_000;
const KEEP_FOR_MS = 3_600_000;
const FIRST_DISK_LIMIT_MS = 500;

/** Looks at the host in the background, so that no request waits for it. Of containers it shows the host around them. */
@Injectable()
export class HostSampler implements OnModuleInit, OnApplicationShutdown {
  private last: HostSnapshot | null = null;
  private readonly kept: HostSnapshot[] = [];
  private keptAtMs = -Infinity;
  private cpu: CpuTimes = { busy: 0, total: 0 };
  private links: { seenAtMs: number; bytes: Map<string, LinkBytes> } | null = null;
  private disk: { total: number; available: number; used: number } | null = null;
  private diskPending = false;
  private sampling = false;
  private timer: NodeJS.Timeout | null = null;

  constructor(
    private readonly config: Config,
    private readonly clock: Clock,
  ) {}

  async onModuleInit(): Promise<void> {
    await Promise.race([this.measureDisk(), delay(FIRST_DISK_LIMIT_MS)]);
    await this.sample();
    this.timer = setInterval(() => void this.sample(), SAMPLE_EVERY_MS);
    this.timer.unref();
  }

  onApplicationShutdown(): void {
    if (this.timer) clearInterval(this.timer);
  }

  /** The last sample, about two seconds old at most. Throws before the module is initialised. */
  snapshot(): HostSnapshot {
    if (this.last === null) throw new Error('The host has not been sampled yet');
    return this.last;
  }

  /** The last hour, oldest first, a sample each 10 seconds. */
  history(): readonly HostSnapshot[] {
    return this.kept;
  }

  /** Takes one sample now; skipped while another is being taken. Never rejects. */
  async sample(): Promise<void> {
    if (this.sampling) return;
    this.sampling = true;
    try {
      void this.measureDisk();
      const [stat, memory, load, uptime, links] = await Promise.all([
        readProc('stat', parseCpuTimes),
        readProc('meminfo', parseMemory),
        readProc('loadavg', parseLoad),
        readProc('uptime', parseUptime),
        readProc('net/dev', parseLinks),
      ]);
      this.last = {
        sampledAt: this.clock.now(),
        cpuPercent: this.cpuPercent(stat),
        cpuCount: availableParallelism(),
        load1: load?.[0] ?? null,
        load5: load?.[1] ?? null,
        load15: load?.[2] ?? null,
        memoryTotalBytes: memory?.total ?? null,
        memoryAvailableBytes: memory?.available ?? null,
        memoryUsedBytes: memory === null ? null : memory.total - memory.available,
        diskTotalBytes: this.disk?.total ?? null,
        diskAvailableBytes: this.disk?.available ?? null,
        diskUsedBytes: this.disk?.used ?? null,
        ...this.network(links),
        hostUptimeSeconds: uptime,
        processMemoryBytes: process.memoryUsage.rss(),
        processUptimeSeconds: process.uptime(),
      };
      this.keep(this.last);
    } finally {
      this.sampling = false;
    }
  }

  private cpuPercent(now: CpuTimes | null): number | null {
    if (now === null) return null;
    const [busy, total] = [now.busy - this.cpu.busy, now.total - this.cpu.total];
    this.cpu = now;
    return total > 0 ? Math.min(100, Math.max(0, (busy / total) * 100)) : 0;
  }

  private network(
    links: Map<string, LinkBytes> | null,
  ): Pick<HostSnapshot, 'networkRxBytes' | 'networkTxBytes' | 'networkRxBytesPerSecond' | 'networkTxBytesPerSecond'> {
    if (links === null) {
      return {
        networkRxBytes: null,
        networkTxBytes: null,
        networkRxBytesPerSecond: null,
        networkTxBytesPerSecond: null,
      };
    }
    const bytes = outerLinks(links);
    const seenAtMs = this.clock.monotonicMs();
    const moved = this.links === null ? { rx: 0, tx: 0 } : bytesMoved(this.links.bytes, bytes);
    // A moment too short to divide by says nothing.
    const seconds = Math.max(0.1, this.links === null ? 1 : (seenAtMs - this.links.seenAtMs) / 1000);
    this.links = { seenAtMs, bytes };
    const all = [...bytes.values()];
    return {
      networkRxBytes: all.reduce((sum, link) => sum + link.rx, 0),
      networkTxBytes: all.reduce((sum, link) => sum + link.tx, 0),
      networkRxBytesPerSecond: moved.rx / seconds,
      networkTxBytesPerSecond: moved.tx / seconds,
    };
  }

  /** Beside the rest: a network file system that hangs must not hold up the sample. */
  private async measureDisk(): Promise<void> {
    if (this.diskPending) return;
    this.diskPending = true;
    try {
      const { bsize, blocks, bfree, bavail } = await statfs(this.config.dataDir);
      this.disk = { total: blocks * bsize, available: bavail * bsize, used: (blocks - bfree) * bsize };
    } catch {
      this.disk = null;
    } finally {
      this.diskPending = false;
    }
  }

  private keep(snapshot: HostSnapshot): void {
    const now = this.clock.monotonicMs();
    if (now - this.keptAtMs < KEEP_EVERY_MS - SAMPLE_EVERY_MS / 2) return;
    this.keptAtMs = now;
    this.kept.push(snapshot);
    if (this.kept.length > KEEP_FOR_MS / KEEP_EVERY_MS) this.kept.shift();
  }
}

async function readProc<T>(file: string, parse: (text: string) => T | null): Promise<T | null> {
  try {
    return parse(await readFile(`/proc/${file}`, 'utf8'));
  } catch {
    return null;
  }
}
