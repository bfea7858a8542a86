import { Injectable, type OnModuleInit } from '@nestjs/common';
import { InjectDataSource } from '@nestjs/typeorm';
import { DataSource, type EntityManager, QueryFailedError } from 'typeorm';
import { Config } from '../../platform/config/config.js';
import { Notifications } from '../../platform/locks/notifications.js';
import { MASK } from '../events/details-mask.js';
import { EventsService } from '../events/events.service.js';
import { AlertsService } from '../settings/alerts.service.js';
import { settingInvalid } from '../settings/settings.errors.js';
import { SettingsService } from '../settings/settings.service.js';
import { checkPassword, checkUsername, isWeak, MIN_PASSWORD_LENGTH, passwordHash } from './user.rules.js';
import { type Role, User } from './user.entity.js';
import { adminExists, lastAdmin, userNotFound, usernameTaken } from './users.errors.js';

export interface NewUser {
  username: string;
  password: string;
  role: Role;
  email?: string | null;
  firstName?: string;
  lastName?: string;
  telegramId?: string | null;
  isActive?: boolean;
}

/** Called after a user changed or went, in whichever process that was. */
export type UserListener = (userId: number) => void;

const CHANNEL = 'users';
const FIRST_ADMIN_LOCK = `SELECT pg_advisory_xact_lock(hashtextextended('causeway/first-admin', 0))`;

/** The people who may sign in. */
@Injectable()
export class UsersService implements OnModuleInit {
  private readonly listeners: UserListener[] = [];

  constructor(
    @InjectDataSource() private readonly dataSource: DataSource,
    private readonly config: Config,
    private readonly settings: SettingsService,
    private readonly alerts: AlertsService,
    private readonly events: EventsService,
    private readonly notifications: Notifications,
  ) {}

  onModuleInit(): void {
    this.notifications.listen(CHANNEL, (payload) => {
      const { id } = payload as { id?: unknown };
      if (typeof id === 'number') this.tell(id);
    });
    this.alerts.register(() => this.weakPasswordAlerts());
    this.settings.provide('admin', {
      read: () => this.adminSetting(),
      write: (text) => this.setAdminSetting(text),
    });
  }

  findById(id: number): Promise<User | null> {
    return this.dataSource.getRepository(User).findOneBy({ id });
  }

  /** The name counts exactly as it is written. */
  findByUsername(username: string): Promise<User | null> {
    return this.dataSource.getRepository(User).findOneBy({ username });
  }

  /** The active admin who was there first; null before the installation. */
  firstAdmin(manager: EntityManager = this.dataSource.manager): Promise<User | null> {
    return manager.findOne(User, { where: { role: 'admin', isActive: true }, order: { id: 'ASC' } });
  }

  countAdmins(manager: EntityManager = this.dataSource.manager): Promise<number> {
    return manager.countBy(User, { role: 'admin' });
  }

  /**
   * Makes a user, in the caller's transaction when there is one. Errors: `username_invalid`, `username_taken`,
   * `password_too_short`, `password_too_long`, `passwords_busy`.
   */
  async create(wanted: NewUser, manager?: EntityManager): Promise<User> {
    checkUsername(wanted.username);
    checkPassword(wanted.password, this.config.allowWeakPasswords);
    const hash = await passwordHash(wanted.password);
    return this.within(manager, (tx) => this.insert(wanted, hash, tx));
  }

  /**
   * Makes the first admin, in the caller's transaction when there is one; of several attempts at once one succeeds.
   * Errors: `admin_exists`, and those of `create`.
   */
  async createFirstAdmin(wanted: { username: string; password: string }, manager?: EntityManager): Promise<User> {
    checkUsername(wanted.username);
    checkPassword(wanted.password, this.config.allowWeakPasswords);
    const hash = await passwordHash(wanted.password);
    return this.within(manager, async (tx) => {
      await tx.query(FIRST_ADMIN_LOCK);
      if ((await this.countAdmins(tx)) > 0) throw adminExists();
      return this.insert({ ...wanted, role: 'admin' }, hash, tx);
    });
  }

  /**
   * For the start: seeds settings and the first admin of a database without users from the environment, and does nothing
   * on any other. Several processes may call it at once. Returns the admin that it made. Errors: `password_too_short`,
   * `username_invalid`.
   */
  async ensureFirstAdmin(): Promise<User | null> {
    if (await this.dataSource.getRepository(User).exists()) return null;
    const { adminPassword, adminUsername, wgEasy, allowWeakPasswords } = this.config;
    const password = adminPassword ?? wgEasy.password;
    checkUsername(adminUsername);
    // What opened a wg-easy until today goes on opening it; an alert asks for a better one.
    if (password !== null) checkPassword(password, allowWeakPasswords || adminPassword === null);
    const hash = password === null ? null : await passwordHash(password);
    const admin = await this.dataSource.transaction(async (tx) => {
      await tx.query(FIRST_ADMIN_LOCK);
      if (await tx.exists(User)) return null;
      await this.settings.seed(tx);
      if (hash === null || password === null) return null;
      return this.insert({ username: adminUsername, password, role: 'admin' }, hash, tx);
    });
    this.settings.refresh();
    return admin;
  }

  /**
   * Sets a new password and ends all tokens of the user. Whoever calls this has made sure that it may be done. Errors:
   * `user_not_found`, `password_too_short`, `password_too_long`, `passwords_busy`.
   */
  changePassword(userId: number, password: string): Promise<void> {
    return this.changeCredentials(userId, { password });
  }

  /** Errors: `user_not_found`, `username_invalid`, `username_taken`. */
  rename(userId: number, username: string): Promise<void> {
    return this.changeCredentials(userId, { username });
  }

  /** Deactivating ends all tokens of the user. Errors: `user_not_found`, `last_admin`. */
  async setActive(userId: number, isActive: boolean): Promise<void> {
    await this.change(userId, async (user, tx) => {
      if (user.isActive === isActive) return;
      if (!isActive) await this.assertAnotherAdmin(user, tx);
      await tx.update(User, { id: userId }, { isActive, tokenVersion: user.tokenVersion + (isActive ? 0 : 1) });
      await this.record(
        isActive ? 'user_activated' : 'user_deactivated',
        user.username,
        `User ${user.username} was ${isActive ? 'activated' : 'deactivated'}`,
        tx,
      );
    });
  }

  /** Ends all tokens of the user, which name the old role. Errors: `user_not_found`, `last_admin`. */
  async setRole(userId: number, role: Role): Promise<void> {
    await this.change(userId, async (user, tx) => {
      if (user.role === role) return;
      if (user.role === 'admin') await this.assertAnotherAdmin(user, tx);
      await tx.update(User, { id: userId }, { role, tokenVersion: user.tokenVersion + 1 });
      await this.record('user_role_changed', user.username, `User ${user.username} is now ${role}`, tx, {
        before: { role: user.role },
        after: { role },
      });
    });
  }

  /** Errors: `user_not_found`, `last_admin`. */
  async remove(userId: number): Promise<void> {
    await this.change(userId, async (user, tx) => {
      await this.assertAnotherAdmin(user, tx);
      await tx.delete(User, { id: userId });
      await this.record('user_deleted', user.username, `User ${user.username} was deleted`, tx, {
        before: { username: user.username, role: user.role },
      });
    });
  }

  /** Who keeps something of users for a while drops it here. */
  onChange(listener: UserListener): void {
    this.listeners.push(listener);
  }

  /**
   * Does `work` on the user's locked row in a transaction, and has every process forget what it knows of the user. For
   * this module and auth. Errors: `user_not_found`, and those of `work`.
   */
  async change<T>(userId: number, work: (user: User, tx: EntityManager) => Promise<T>): Promise<T> {
    const result = await this.dataSource.transaction(async (tx) => {
      // All admins first and in one order: two who take each other's rights wait here, and the second one is told.
      await tx.query(`SELECT id FROM users WHERE role = 'admin' AND is_active ORDER BY id FOR NO KEY UPDATE`);
      const user = await tx.findOne(User, { where: { id: userId }, lock: { mode: 'for_no_key_update' } });
      if (!user) throw userNotFound(userId);
      const done = await work(user, tx);
      await this.notifications.notify(CHANNEL, { id: userId }, tx);
      return done;
    });
    this.tell(userId);
    return result;
  }

  /** For a restore, in its transaction: every process forgets what it knows of users when that commits. */
  async forgetAll(tx: EntityManager): Promise<void> {
    await this.notifications.notify(CHANNEL, { id: 0 }, tx);
  }

  private async changeCredentials(userId: number, wanted: { username?: string; password?: string }): Promise<void> {
    const { username, password } = wanted;
    if (username !== undefined) checkUsername(username);
    if (password !== undefined) checkPassword(password, this.config.allowWeakPasswords);
    const hash = password === undefined ? undefined : await passwordHash(password);
    await this.naming(username, () =>
      this.change(userId, async (user, tx) => {
        if (username !== undefined && username !== user.username) {
          await tx.update(User, { id: userId }, { username });
          await this.record('user_renamed', username, `User ${user.username} is now called ${username}`, tx, {
            before: { username: user.username },
            after: { username },
          });
        }
        if (password !== undefined && hash !== undefined) {
          const change = { passwordHash: hash, passwordWeak: isWeak(password), tokenVersion: user.tokenVersion + 1 };
          await tx.update(User, { id: userId }, change);
          const name = username ?? user.username;
          await this.record('password_changed', name, `The password of ${name} was changed`, tx);
        }
      }),
    );
  }

  private insert(wanted: NewUser, hash: string, tx: EntityManager): Promise<User> {
    return this.naming(wanted.username, async () => {
      const { password, ...fields } = wanted;
      const user = await tx.save(
        tx.create(User, {
          ...fields,
          passwordHash: hash,
          passwordWeak: isWeak(password),
        }),
      );
      await this.record('user_created', user.username, `User ${user.username} was created`, tx, {
        after: { role: user.role, isActive: user.isActive },
      });
      return user;
    });
  }

  private within<T>(manager: EntityManager | undefined, work: (tx: EntityManager) => Promise<T>): Promise<T> {
    return manager ? work(manager) : this.dataSource.transaction(work);
  }

  private async naming<T>(username: string | undefined, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      const driverError = error instanceof QueryFailedError ? (error.driverError as { constraint?: string }) : {};
      if (driverError.constraint === 'users_username_key') throw usernameTaken(username ?? '');
      throw error;
    }
  }

  private async assertAnotherAdmin(user: User, tx: EntityManager): Promise<void> {
    if (user.role !== 'admin' || !user.isActive) return;
    if ((await tx.countBy(User, { role: 'admin', isActive: true })) < 2) throw lastAdmin();
  }

  private tell(userId: number): void {
    for (const listener of this.listeners) listener(userId);
  }

  private record(
    action: string,
    target: string,
    message: string,
    tx: EntityManager,
    details: Record<string, unknown> = {},
  ): Promise<void> {
    return this.events.record({ type: 'USER', service: 'users', action, target, message, details }, tx);
  }

  private async weakPasswordAlerts(): Promise<string[]> {
    const weak = await this.dataSource.getRepository(User).find({
      select: { username: true },
      where: { role: 'admin', isActive: true, passwordWeak: true },
      order: { id: 'ASC' },
      take: 10,
    });
    return weak.map(
      ({ username }) => `The password of ${username} has fewer than ${MIN_PASSWORD_LENGTH} characters: change it`,
    );
  }

  private async adminSetting(): Promise<string> {
    const admin = await this.firstAdmin();
    return JSON.stringify({ user: admin?.username ?? '', password: admin ? MASK : '' });
  }

  private async setAdminSetting(text: string): Promise<void> {
    const wanted = parseAdmin(text);
    if (wanted === undefined)
      throw settingInvalid('admin', 'a JSON object {"user": "<name>", "password": "<password>"}');
    const admin = await this.firstAdmin();
    if (!admin) throw userNotFound('admin');
    const { user, password } = wanted;
    await this.changeCredentials(admin.id, {
      ...(user !== undefined && user !== admin.username ? { username: user } : {}),
      ...(password !== undefined && password !== MASK ? { password } : {}),
    });
  }
}

function parseAdmin(text: string): { user?: string; password?: string } | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
  const entries: [string, unknown][] = Object.entries(value);
  const known = entries.every(([name, item]) => (name === 'user' || name === 'password') && typeof item === 'string');
  return known && entries.length > 0 ? Object.fromEntries(entries) : undefined;
}
