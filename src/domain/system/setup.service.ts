import { Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { InjectDataSource } from '@nestjs/typeorm';
import ipaddr from 'ipaddr.js';
import { DataSource } from 'typeorm';
import { Config } from '../../platform/config/config.js';
import { equalSecrets } from '../../platform/crypto/constant-time.js';
import { SecretBox } from '../../platform/crypto/secret-box.js';
import { withLock } from '../../platform/locks/advisory-lock.js';
import { AppLogger } from '../../platform/logging/app-logger.js';
import { defaultRouteAddress } from '../../platform/network/default-address.js';
import type { Principal } from '../auth/principal.js';
import { EnginesService } from '../engines/engines.service.js';
import { EventsService } from '../events/events.service.js';
import { interfaceRangeInvalid } from '../interfaces/interfaces.errors.js';
import { InterfacesService, WIREGUARD_ENGINE } from '../interfaces/interfaces.service.js';
import { parseIpv4Range } from '../interfaces/ipv4-range.js';
import { isAddress } from '../settings/setting-types.js';
import { SettingsService } from '../settings/settings.service.js';
import { checkPassword, checkUsername } from '../users/user.rules.js';
import { UsersService } from '../users/users.service.js';
import { alreadyInstalled, installBusy, serverIpInvalid, setupNeedsAdmin, setupTokenWrong } from './setup.errors.js';

/** The network that wg-easy uses, for an installation from its environment. */
const WG_EASY_ADDRESS = '10.8.0.1/24';

export interface InstallRequest {
  /** Public IP address of this server. */
  serverIp: string;
  listenPort: number;
  /** The server's own address with prefix, `10.0.0.1/24`. */
  address: string;
  /** Comma-separated DNS servers for clients. */
  dns: string;
  adminUser: string;
  adminPassword: string;
}

export interface InstallCaller {
  /** Whose token came with the request; null without one. */
  principal: Principal | null;
  /** Null when it is not known. */
  remoteAddress: string | null;
  /** Header X-Setup-Token. */
  setupToken: string | undefined;
}

/** The first installation: the first admin, where clients find this server, and `wg0`. */
@Injectable()
export class SetupService implements OnApplicationBootstrap {
  constructor(
    @InjectDataSource() private readonly dataSource: DataSource,
    private readonly config: Config,
    private readonly users: UsersService,
    private readonly settings: SettingsService,
    private readonly interfaces: InterfacesService,
    private readonly engines: EnginesService,
    private readonly events: EventsService,
    private readonly secrets: SecretBox,
    private readonly log: AppLogger,
  ) {}

  async onApplicationBootstrap(): Promise<void> {
    await this.users.ensureFirstAdmin();
    if (this.config.wgEasy.password !== null && this.config.role !== 'api') await this.installFromEnvironment();
  }

  installed(): Promise<boolean> {
    return this.settings.get('install');
  }

  /** Anyone may install: there is no admin yet whose token could be asked for. */
  async open(): Promise<boolean> {
    return !(await this.installed()) && (await this.users.countAdmins()) === 0;
  }

  /** What a caller from a public address must show: SETUP_TOKEN, else one that only this installation can know. */
  setupToken(): string {
    return this.config.setupToken ?? this.secrets.deriveKey('setup-token', 15).toString('base64url');
  }

  /**
   * Installs once. Errors: `already_installed`, `install_busy`, `setup_needs_admin`, `setup_token_wrong`,
   * `server_ip_invalid`, those of the first admin's name and password, of the settings `server_ip` and `dns`, and of
   * `InterfacesService.create`; after an error nothing was installed. Without WireGuard on this host `wg0` is stored
   * but not enabled.
   */
  async install(wanted: InstallRequest, caller: InstallCaller): Promise<void> {
    if (await this.installed()) throw alreadyInstalled();
    const needsAdmin = (await this.users.countAdmins()) > 0;
    this.assertMayInstall(needsAdmin, caller);
    if (!isAddress(wanted.serverIp)) throw serverIpInvalid();
    if (!parseIpv4Range(wanted.address)) throw interfaceRangeInvalid(wanted.address);
    if (!needsAdmin) {
      checkUsername(wanted.adminUser);
      checkPassword(wanted.adminPassword, this.config.allowWeakPasswords);
    }
    await this.once(async () => {
      const enabled = await this.wireguardIsHere();
      await this.makeFirstInterface(wanted, enabled);
      try {
        await this.store(wanted, !needsAdmin);
      } catch (error) {
        await this.interfaces.remove(0, true).catch((failure: unknown) => {
          this.log.warn('wg0 of an installation that failed could not be taken away', { err: failure });
        });
        throw error;
      }
    });
  }

  private assertMayInstall(needsAdmin: boolean, caller: InstallCaller): void {
    if (needsAdmin) {
      if (caller.principal?.role !== 'admin') throw setupNeedsAdmin();
      return;
    }
    if (this.config.setupToken === null && !isPublicAddress(caller.remoteAddress)) return;
    if (!equalSecrets(caller.setupToken ?? '', this.setupToken())) throw setupTokenWrong();
  }

  /** An installation that was cut short may have left `wg0` behind: then it is brought to what is asked now. */
  private async makeFirstInterface(wanted: InstallRequest, enabled: boolean): Promise<void> {
    const { address, listenPort } = wanted;
    const existing = await this.interfaces.findByNumber(0);
    if (existing && enabled) await this.interfaces.update(0, { address, listenPort, enabled });
    else if (!existing) await this.interfaces.create({ number: 0, address, listenPort, enabled });
  }

  private async store(wanted: InstallRequest, withAdmin: boolean): Promise<void> {
    const changes = await this.dataSource.transaction(async (tx) => {
      const { adminUser: username, adminPassword: password } = wanted;
      if (withAdmin) await this.users.createFirstAdmin({ username, password }, tx);
      const stored = await this.settings.store({ server_ip: wanted.serverIp, dns: wanted.dns, install: '1' }, tx);
      await this.events.record(
        {
          type: 'SYSTEM',
          service: 'system',
          action: 'installed',
          target: 'wg0',
          message: 'The server was installed',
          details: { serverIp: wanted.serverIp, address: wanted.address, listenPort: wanted.listenPort },
        },
        tx,
      );
      return stored;
    });
    await this.settings.applied(changes);
  }

  /** A `.env` of wg-easy is enough: `wg0` on its network, with its port, for clients that connect to WG_HOST. */
  private async installFromEnvironment(): Promise<void> {
    if (await this.installed()) return;
    await this.once(async () => {
      const { port, host } = this.config.wgEasy;
      // A start that was cut short may have left it behind.
      if (!(await this.interfaces.findByNumber(0))) {
        const enabled = await this.wireguardIsHere();
        await this.interfaces.create({ number: 0, address: WG_EASY_ADDRESS, listenPort: port, enabled });
      }
      const address = host === null ? await defaultRouteAddress() : null;
      const changes = await this.dataSource.transaction((tx) =>
        this.settings.store({ install: '1', ...(address === null ? {} : { server_ip: address }) }, tx),
      );
      await this.settings.applied(changes);
      this.log.info('installed from the environment', { interface: 'wg0', address: WG_EASY_ADDRESS, port });
    }).catch((error: unknown) => {
      this.log.error('WG_PASSWORD asks for wg0, which could not be made; the next start tries again', { err: error });
    });
  }

  private async wireguardIsHere(): Promise<boolean> {
    await this.engines.whenStarted(WIREGUARD_ENGINE);
    return (await this.engines.healthOf(WIREGUARD_ENGINE)).state !== 'absent';
  }

  /** One installation at a time, and only while there is none. */
  private async once(work: () => Promise<void>): Promise<void> {
    const result = await withLock(this.dataSource, 'causeway/install', async () => {
      if (await this.installed()) throw alreadyInstalled();
      await work();
    });
    if (!result.ran) throw installBusy();
  }
}

/** Not loopback, not a private network: whoever asks from there may be anybody. */
function isPublicAddress(address: string | null): boolean {
  if (address === null || !ipaddr.isValid(address)) return true;
  const range = ipaddr.process(address).range();
  return !['loopback', 'private', 'linkLocal', 'uniqueLocal', 'carrierGradeNat'].includes(range);
}
