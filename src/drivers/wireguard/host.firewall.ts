import { Logger } from '@nestjs/common';
import { type FirewallSpec, TunnelUnavailableError } from '../../domain/tunnels/tunnel.port.js';
import { CommandFailedError, runCommand } from './command.runner.js';
import { COMMENT, type ForeignChain, rangesOf, renderTransaction, TABLE } from './firewall.ruleset.js';
import { ForwardingError, ForwardingSysctl } from './forwarding.sysctl.js';
import type { Lack } from './host.capability.js';
import { isIpv6Cidr } from './peer.rules.js';

interface NftChain {
  family: string;
  table: string;
  name: string;
  type?: string;
  hook?: string;
  policy?: string;
}

interface NftRule {
  handle: number;
  comment?: string;
}

const FAMILIES: readonly string[] = ['ip', 'ip6', 'inet'] satisfies ForeignChain['family'][];
/** Any other name would have to be quoted; no firewall that we know of has one. */
const PLAIN_NAME = /^[A-Za-z][\w-]*$/;

/** Forwarding, NAT and filtering for devices: one table of our own, and accepts where another's chain drops. */
export class HostFirewall {
  /** Why clients may not reach the internet now; null when nothing is wrong. */
  lack: Lack | null = null;

  private readonly logger = new Logger('HostFirewall');
  private readonly forwarding: ForwardingSysctl;
  private lastReport = '';

  constructor(dataDir: string) {
    this.forwarding = new ForwardingSysctl(dataDir);
  }

  /**
   * Makes the host's packet rules be exactly what these devices need. A host without nft or with read-only settings goes
   * without, and `lack` says so; where that would leave open what was to be closed, throws TunnelUnavailableError.
   */
  async apply(devices: readonly FirewallSpec[]): Promise<void> {
    const before = this.lack?.message;
    this.lack = null;
    try {
      await this.attempt(devices);
    } finally {
      // Asked for every few seconds: said once.
      const now = (this.lack as Lack | null)?.message;
      if (now !== undefined && now !== before) this.logger.warn(now);
    }
  }

  private async attempt(devices: readonly FirewallSpec[]): Promise<void> {
    let chains: NftChain[];
    try {
      chains = await listChains();
    } catch (error) {
      this.withoutNft(error, devices);
      if (devices.length === 0) await this.forwarding.restore({ ipv4: false, ipv6: false });
      return;
    }
    // Filtering stands before forwarding begins, and until after it ended.
    if (devices.length === 0) {
      // Docker turns forwarding on when it starts and never again.
      const docker = (family: string): boolean => chains.some((c) => c.family === family && c.name === 'DOCKER-USER');
      await this.forwarding.restore({ ipv4: docker('ip'), ipv6: docker('ip6') });
    }
    await this.replaceRules(devices, chains);
    if (devices.length > 0) await this.enableForwarding(devices);
  }

  private async replaceRules(devices: readonly FirewallSpec[], chains: NftChain[]): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        const foreign = await foreignChains(chains);
        await runCommand('nft', ['-f', '-'], renderTransaction(devices, foreign));
        this.report(devices, foreign);
        return;
      } catch (error) {
        // A chain of another's may change between look and step; then nothing was done and the look is repeated.
        if (attempt < 3 && error instanceof CommandFailedError) {
          chains = await listChains().catch(() => chains);
          continue;
        }
        throw error instanceof CommandFailedError ? new TunnelUnavailableError(error.message, { cause: error }) : error;
      }
    }
  }

  private async enableForwarding(devices: readonly FirewallSpec[]): Promise<void> {
    const ranges = rangesOf(devices);
    const ipv4 = ranges.some((range) => !isIpv6Cidr(range));
    await this.forward({ ipv4, ipv6: false }, 'Clients reach this host only');
    if (this.lack === null && ranges.some(isIpv6Cidr)) {
      await this.forward({ ipv4: false, ipv6: true }, 'Clients reach others over IPv4 only');
    }
  }

  private async forward(families: { ipv4: boolean; ipv6: boolean }, otherwise: string): Promise<void> {
    try {
      await this.forwarding.enable(families);
    } catch (error) {
      if (!(error instanceof ForwardingError)) throw error;
      const setting = error.message.split(' ')[0];
      this.lack = {
        message: `${otherwise}: ${error.message}`,
        hint: `sysctl -w ${setting}=1 (in a container: --sysctl ${setting}=1)`,
      };
    }
  }

  private withoutNft(error: unknown, devices: readonly FirewallSpec[]): void {
    if (!(error instanceof CommandFailedError)) throw error;
    if (devices.length === 0) return;
    this.lack = error.missing
      ? {
          message: 'Clients reach this host only: the program nft is not installed',
          hint: 'apt-get install -y --no-install-recommends nftables',
        }
      : {
          message: `Clients reach this host only: nftables cannot be used (${error.complaint})`,
          hint: 'modprobe nf_tables',
        };
    if (devices.some((spec) => !spec.allowHost || !spec.allowLan || !spec.allowPeers)) {
      throw new TunnelUnavailableError(`What clients may not reach cannot be closed off: ${error.message}`);
    }
  }

  private report(devices: readonly FirewallSpec[], foreign: readonly ForeignChain[]): void {
    const names =
      devices.length === 0 ? [] : foreign.filter((c) => c.wanted).map((c) => `${c.family} ${c.table} ${c.name}`);
    const text = names.join(', ');
    if (text === this.lastReport) return;
    this.lastReport = text;
    if (text !== '') {
      this.logger.log(`Another firewall drops forwarded or incoming packets; accept rules of ours stand in ${text}`);
    }
  }
}

async function listChains(): Promise<NftChain[]> {
  return (await nftList(['list', 'chains'])).flatMap((entry) => (entry['chain'] ? [entry['chain'] as NftChain] : []));
}

/** The chains of others that matter to us: those that drop what no rule accepts, and those that have rules of ours. */
async function foreignChains(chains: readonly NftChain[]): Promise<ForeignChain[]> {
  const found: ForeignChain[] = [];
  for (const chain of chains) {
    const { family, table, name } = chain;
    const side = isDockerUser(chain) ? 'forward' : chain.type === 'filter' ? chain.hook : undefined;
    if ((side !== 'forward' && side !== 'input') || !FAMILIES.includes(family) || `${family} ${table}` === TABLE)
      continue;
    if (!PLAIN_NAME.test(table) || !PLAIN_NAME.test(name)) continue;
    const entries = await nftList(['-a', 'list', 'chain', family, table, name]);
    const handles = entries
      .flatMap((entry) => (entry['rule'] ? [entry['rule'] as NftRule] : []))
      .filter((rule) => rule.comment === COMMENT)
      .map((rule) => rule.handle);
    // Docker keeps its hands off DOCKER-USER, and its FORWARD chain jumps there first.
    const dockers = name === 'FORWARD' && chains.some((other) => isDockerUser(other) && other.family === family);
    const wanted = isDockerUser(chain) || (chain.policy === 'drop' && !(table === 'filter' && dockers));
    if (wanted || handles.length > 0) {
      found.push({ family: family as ForeignChain['family'], table, name, side, handles, wanted });
    }
  }
  return found;
}

function isDockerUser({ table, name }: NftChain): boolean {
  return table === 'filter' && name === 'DOCKER-USER';
}

async function nftList(args: string[]): Promise<Record<string, unknown>[]> {
  const answer = JSON.parse(await runCommand('nft', ['-j', ...args])) as { nftables?: Record<string, unknown>[] };
  return answer.nftables ?? [];
}
