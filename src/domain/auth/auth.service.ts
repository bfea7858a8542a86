import { Injectable } from '@nestjs/common';
import { AppLogger } from '../../platform/logging/app-logger.js';
import { DomainError } from '../domain-error.js';
import { EventsService } from '../events/events.service.js';
import { SettingsService } from '../settings/settings.service.js';
import { TotpService } from '../users/totp.service.js';
import type { Role, User } from '../users/user.entity.js';
import { isPasswordOf } from '../users/user.rules.js';
import { UsersService } from '../users/users.service.js';
import { ApiTokensService } from './api-tokens.service.js';
import { tokenInvalid, totpRequired, totpWrong, wrongCredentials } from './auth.errors.js';
import { type Attempt, LoginBackoff } from './login-backoff.js';
import type { Principal } from './principal.js';
import { TokensService } from './tokens.service.js';

export interface Credentials {
  username: string;
  password: string;
  /** The code of the second factor, for those who have one. */
  totp?: string | undefined;
  /** The caller's address. */
  ip: string | null;
  /** Anyone else is told that the credentials are wrong. */
  role?: Role;
}

export interface Confirmation {
  userId: number;
  password: string;
  totp?: string | undefined;
  ip: string | null;
}

/** Who is asking: by password, or by token. */
@Injectable()
export class AuthService {
  constructor(
    private readonly users: UsersService,
    private readonly totp: TotpService,
    private readonly tokens: TokensService,
    private readonly apiTokens: ApiTokensService,
    private readonly backoff: LoginBackoff,
    private readonly settings: SettingsService,
    private readonly events: EventsService,
    private readonly log: AppLogger,
  ) {}

  /**
   * The user of these credentials. Errors: `wrong_credentials` (also for unknown and deactivated users, in the same
   * time), `totp_required`, `totp_wrong`, `login_limited` with `retryAfterSeconds`, `passwords_busy`.
   */
  async login(credentials: Credentials): Promise<User> {
    const user = await this.check(credentials);
    await this.events.record({
      type: 'AUTH',
      service: 'auth',
      action: 'login',
      actor: user.username,
      target: user.username,
      message: `${user.username} logged in`,
    });
    return user;
  }

  /**
   * The admin of a bare password: the user that the setting `wg_easy_user` names, else the first admin. Errors as of
   * `login`.
   */
  async loginByPassword(credentials: Omit<Credentials, 'username' | 'role'>): Promise<User> {
    const username = (await this.settings.get('wg_easy_user')) ?? (await this.users.firstAdmin())?.username ?? '';
    return this.login({ ...credentials, username, role: 'admin' });
  }

  /** For a signed-in user about to change how to sign in; guessing is slowed down as at `login`. Errors as there. */
  async confirm(confirmation: Confirmation): Promise<User> {
    const user = await this.users.findById(confirmation.userId);
    return this.check({ ...confirmation, username: user?.username ?? '' });
  }

  /** Errors: those of `login`, of `UsersService.changePassword`. */
  async changeOwnPassword(confirmation: Confirmation, newPassword: string): Promise<void> {
    const user = await this.confirm(confirmation);
    await this.users.changePassword(user.id, newPassword);
  }

  /** Errors: those of `login`. */
  async disableOwnTotp(confirmation: Confirmation): Promise<void> {
    const user = await this.confirm(confirmation);
    await this.totp.disable(user.id);
  }

  /** Whose bearer token this is, an access token or an API token. Throws `token_invalid`. */
  async authenticate(bearer: string): Promise<Principal> {
    try {
      return await this.tokens.verify(bearer, 'access');
    } catch (error) {
      if (!(error instanceof DomainError) || error.code !== 'token_invalid') throw error;
    }
    const principal = await this.apiTokens.find(bearer);
    if (!principal) throw tokenInvalid();
    return principal;
  }

  /** The same for an access token that was asked about a moment ago, from memory; null for all others. */
  recall(bearer: string): Principal | null {
    return this.tokens.recall(bearer, 'access');
  }

  private async check(credentials: Credentials): Promise<User> {
    const { username, ip } = credentials;
    const attempt = await this.backoff.attempt(username, ip, () => this.tryOnce(credentials));
    if (attempt.value instanceof DomainError) throw attempt.value;
    return attempt.value;
  }

  private async tryOnce(credentials: Credentials): Promise<Attempt<User | DomainError>> {
    const { username, password, totp, role } = credentials;
    // PostgreSQL has no such texts, so nobody is called that.
    const possible = username.length <= 150 && !username.includes('\0');
    const user = possible ? await this.users.findByUsername(username) : null;
    const right = await isPasswordOf(user, password);
    if (!user || !right || !user.isActive || (role !== undefined && user.role !== role)) {
      return this.wrong(wrongCredentials(), user, credentials);
    }
    if (user.totpEnabled) {
      if (totp === undefined || totp === '') return { outcome: 'unfinished', value: totpRequired() };
      if (!(await this.totp.use(user, totp))) return this.wrong(totpWrong(), user, credentials);
    }
    return { outcome: 'right', value: user };
  }

  /**
   * Not waited for: writing about those who exist must not take longer than not writing about those who do not. A name
   * that nobody has may be a password in the wrong field, so it is written nowhere.
   */
  private wrong(answer: DomainError, user: User | null, { ip }: Credentials): Attempt<DomainError> {
    if (user) {
      const { username } = user;
      void this.events
        .record({
          type: 'AUTH',
          severity: 'WARN',
          service: 'auth',
          action: 'login_failed',
          target: username,
          message: `A login as ${username} failed`,
          details: { reason: answer.code },
        })
        .catch((failure: unknown) => this.log.warn('a failed login could not be recorded', { err: failure }));
    } else {
      this.log.debug('login of an unknown user', { ip });
    }
    return { outcome: 'wrong', value: answer };
  }
}
