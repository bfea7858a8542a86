/** Ticks of all processors together since the host started. */
export interface CpuTimes {
  busy: number;
  total: number;
}

/** Bytes that one network link moved since it exists. */
export interface LinkBytes {
  rx: number;
  tx: number;
}

/** From `/proc/stat`; null when the line is not there. Waiting for disks is idle time, time stolen by a host is not. */
export function parseCpuTimes(text: string): CpuTimes | null {
  const line = /^cpu +(.+)$/m.exec(text);
  if (line === null) return null;
  // user nice system idle iowait irq softirq steal; guest times are part of the first two.
  const ticks = line[1]!.split(' ').slice(0, 8).map(Number);
  if (ticks.length < 4 || ticks.some((tick) => !Number.isFinite(tick))) return null;
  const total = ticks.reduce((sum, tick) => sum + tick, 0);
  return { busy: total - ticks[3]! - (ticks[4] ?? 0), total };
}

/** From `/proc/meminfo`, in bytes; null when either line is not there. */
export function parseMemory(text: string): { total: number; available: number } | null {
  const bytes = (name: string): number | null => {
    const line = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text);
    return line === null ? null : Number(line[1]) * 1024;
  };
  const [total, available] = [bytes('MemTotal'), bytes('MemAvailable')];
  return total === null || available === null ? null : { total, available };
}

/** From `/proc/loadavg`: the mean number of runnable tasks over 1, 5 and 15 minutes. */
export function parseLoad(text: string): [number, number, number] | null {
  const match = /^(\d+\.\d+) (\d+\.\d+) (\d+\.\d+) /.exec(text);
  return match === null ? null : [Number(match[1]), Number(match[2]), Number(match[3])];
}

/** From `/proc/uptime`, in seconds. */
export function parseUptime(text: string): number | null {
  const match = /^(\d+(?:\.\d+)?) /.exec(text);
  return match === null ? null : Number(match[1]);
}

/** From `/proc/net/dev`, by the name of the link. */
export function parseLinks(text: string): Map<string, LinkBytes> {
  const links = new Map<string, LinkBytes>();
  for (const line of text.split('\n')) {
    const match = /^\s*([^\s:]+(?::\d+)?):\s*(\d.*)$/.exec(line);
    if (match === null) continue;
    // Eight columns of received things, then what was sent.
    const columns = match[2]!.trim().split(/\s+/).map(Number);
    links.set(match[1]!, { rx: columns[0] ?? 0, tx: columns[8] ?? 0 });
  }
  return links;
}

// Whatever moves through these is counted again by another link of the same host: the one that carries the tunnel out,
// the one behind a bridge or a container's link, the members of a bond, the link below a VLAN.
const TUNNEL = /^(lo$|wg\d|tun\d|tap\d)/;
const INNER = /^(docker\d|br-|veth|virbr\d|bond\d)/;

/** The links to the world; inside a container, whose only link may have any name, all but loopback and tunnels. */
export function outerLinks(links: ReadonlyMap<string, LinkBytes>): Map<string, LinkBytes> {
  const candidates = [...links].filter(([name]) => !TUNNEL.test(name));
  const outer = candidates.filter(([name]) => {
    const below = name.slice(0, Math.max(0, name.lastIndexOf('.')));
    return !INNER.test(name) && !links.has(below);
  });
  return new Map(outer.length > 0 ? outer : candidates);
}

/** What moved between two readings. A link that is new, or began again, counts from zero only once it is seen. */
export function bytesMoved(before: ReadonlyMap<string, LinkBytes>, now: ReadonlyMap<string, LinkBytes>): LinkBytes {
  const moved = { rx: 0, tx: 0 };
  for (const [name, link] of now) {
    const last = before.get(name);
    if (last === undefined || link.rx < last.rx || link.tx < last.tx) continue;
    moved.rx += link.rx - last.rx;
    moved.tx += link.tx - last.tx;
  }
  return moved;
}
