/** One connection that a user opened. */
export interface AccessLogEntry {
  /** `YYYY/MM/DD HH:MM`, the engine host's own time. */
  minute: string;
  /** Where the user came from. */
  address: string;
  /** Name or address that it asked for, lower case, without the port. */
  domain: string;
  /** What the engine calls the user. */
  engineId: string;
}

// V2Ray 4 and all of Xray: "from", the fraction and tcp:/udp: before the source came and went with the versions.
const LINE =
  /^(\d{4}\/\d\d\/\d\d \d\d:\d\d):\d\d(?:\.\d+)? (?:from )?(?:(?:tcp|udp):)?(\[[0-9a-fA-F:.]+\]|[0-9a-fA-F.:]+?):\d+ accepted (?:(?:tcp|udp):)?(\S+?)(?::\d+)?(?: \[.*\])? email: (\S{1,64})$/;

/** Reads a line of the engine's access log; null for a rejected one, one without a user, and anything else. */
export function parseAccessLogLine(line: string): AccessLogEntry | null {
  if (line.length > 1024 || !line.includes(' accepted ')) return null;
  const match = LINE.exec(line);
  if (match === null) return null;
  const [, minute = '', address = '', target = '', engineId = ''] = match;
  return { minute, address: address.replace(/^\[(.*)\]$/, '$1'), domain: domainOf(target), engineId };
}

/** What cannot be a name counts as `other`: nothing that a client sends is kept as it is. */
function domainOf(target: string): string {
  const bare = target
    .replace(/^\[(.*)\]$/, '$1')
    .replace(/\.$/, '')
    .toLowerCase();
  return /^[a-z0-9_](?:[a-z0-9_.:-]{0,252})$/.test(bare) || /^[0-9a-f:.]{2,45}$/.test(bare) ? bare : 'other';
}
