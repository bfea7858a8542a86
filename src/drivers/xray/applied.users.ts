import { appendFile, mkdir, readFile, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { ProxyProtocol, ProxyUserSpec } from '../../domain/xray/proxy-engine.port.js';
import { ProxyRefusedError } from '../../domain/xray/proxy-engine.port.js';
import { credentialOf, renderUser } from './engine.config.js';
import type { EngineApi } from './engine.api.js';

/** Credentials, as one text to compare, by inbound and user. */
export type UsersByInbound = Map<string, Map<string, string>>;

/**
 * The users that a running engine has, which V2Ray cannot be asked for. Before a change the users that it touches go
 * into a journal: after a crash they are in doubt, and are set anew or taken away. A snapshot of all empties it.
 */
export class AppliedUsers {
  private readonly doubtful = new Map<string, Set<string>>();

  private constructor(
    private readonly journalPath: string,
    private readonly users: UsersByInbound,
  ) {}

  /** The users of an engine that was just started with these. */
  static async fresh(journalPath: string, users: UsersByInbound): Promise<AppliedUsers> {
    await rm(journalPath, { force: true });
    return new AppliedUsers(journalPath, users);
  }

  /** The users of an engine that was found running: those of the last snapshot, and who was changed since. */
  static async found(journalPath: string, users: UsersByInbound): Promise<AppliedUsers> {
    const applied = new AppliedUsers(journalPath, users);
    const journal = await readFile(journalPath, 'utf8').catch(() => '');
    for (const line of journal.split('\n')) {
      const [tag, id] = line.split('\t');
      if (tag !== undefined && id !== undefined) applied.doubt(tag, [id]);
    }
    return applied;
  }

  /** A copy of all users as they were last known. */
  snapshot(): UsersByInbound {
    return new Map([...this.users].map(([tag, users]) => [tag, new Map(users)]));
  }

  /** A snapshot with all users was written down. */
  async written(): Promise<void> {
    if (this.doubtful.size === 0) await rm(this.journalPath, { force: true });
  }

  /** Makes the inbound have exactly these users. True when anything was to be done. */
  async replace(
    api: EngineApi,
    tag: string,
    protocol: ProxyProtocol,
    wanted: readonly ProxyUserSpec[],
  ): Promise<boolean> {
    const ids = new Set(wanted.map((user) => user.id));
    const gone = [...this.idsOf(tag)].filter((id) => !ids.has(id));
    return this.change(api, tag, protocol, wanted, gone);
  }

  /** Sets some users and takes others away. True when anything was to be done. */
  async change(
    api: EngineApi,
    tag: string,
    protocol: ProxyProtocol,
    wanted: readonly ProxyUserSpec[],
    gone: readonly string[],
  ): Promise<boolean> {
    const present = this.users.get(tag) ?? new Map<string, string>();
    const inDoubt = this.doubtful.get(tag) ?? new Set<string>();
    const text = (user: ProxyUserSpec): string => credentialOf(renderUser(protocol, user));
    const set = wanted.filter((user) => inDoubt.has(user.id) || present.get(user.id) !== text(user));
    if (set.length === 0 && gone.length === 0) return false;
    this.assertNoneTwice(tag, set, gone);

    const touched = [...gone, ...set.map((user) => user.id)];
    await mkdir(dirname(this.journalPath), { recursive: true, mode: 0o700 });
    // Not synced: an engine does not outlive the machine.
    await appendFile(this.journalPath, touched.map((id) => `${tag}\t${id}\n`).join(''), { mode: 0o600 });
    this.doubt(tag, touched);
    // All go before any comes: on vless, taking one away would take another with the same UUID along.
    await api.removeUsers(tag, [
      ...gone,
      ...set.filter(({ id }) => present.has(id) || inDoubt.has(id)).map(({ id }) => id),
    ]);
    await api.addUsers(tag, protocol, set);

    const now = this.users.get(tag) ?? new Map<string, string>();
    this.users.set(tag, now);
    for (const id of gone) now.delete(id);
    for (const user of set) now.set(user.id, text(user));
    const left = this.doubtful.get(tag)!;
    for (const id of touched) left.delete(id);
    if (left.size === 0) this.doubtful.delete(tag);
    return true;
  }

  private idsOf(tag: string): Set<string> {
    return new Set([...(this.users.get(tag)?.keys() ?? []), ...(this.doubtful.get(tag) ?? [])]);
  }

  private doubt(tag: string, ids: readonly string[]): void {
    const set = this.doubtful.get(tag) ?? new Set<string>();
    for (const id of ids) set.add(id);
    this.doubtful.set(tag, set);
  }

  private assertNoneTwice(tag: string, set: readonly ProxyUserSpec[], gone: readonly string[]): void {
    if (set.length === 0) return;
    const changing = new Set([...gone, ...set.map((user) => user.id)]);
    const taken = new Set<string>();
    for (const [id, credential] of this.users.get(tag) ?? []) {
      if (!changing.has(id)) taken.add(credential.split(' ')[0]!.toLowerCase());
    }
    const twice = set.find((user) => taken.has(user.uuid.toLowerCase()));
    if (twice !== undefined) throw new ProxyRefusedError(`The UUID of ${twice.id} belongs to another user`);
  }
}
