import { createHmac } from 'node:crypto';
import { Injectable, type OnApplicationBootstrap, type OnModuleInit } from '@nestjs/common';
import { InjectDataSource } from '@nestjs/typeorm';
import { DataSource, type EntityManager, QueryFailedError } from 'typeorm';
import { FreshCache } from '../../platform/cache/fresh-cache.js';
import { Clock } from '../../platform/clock/clock.js';
import { SecretBox } from '../../platform/crypto/secret-box.js';
import { Notifications } from '../../platform/locks/notifications.js';
import { MASK } from '../events/details-mask.js';
import { EventsService } from '../events/events.service.js';
import { SettingsService } from '../settings/settings.service.js';
import { ApiToken, type ApiTokenScope } from './api-token.entity.js';
import { apiTokenInvalid, apiTokenNotFound, apiTokenValueTaken } from './auth.errors.js';
import type { Principal } from './principal.js';

export interface NewApiToken {
  /** 1 to 64 characters. */
  name: string;
  /** 16 to 512 visible ASCII characters. */
  token: string;
  /** Unless told: as it was, `admin` for a new one. */
  scope?: ApiTokenScope | undefined;
}

export const API_TOKEN_LABEL = 'api-tokens/value';
const CHANNEL = 'api_tokens';
const VALUE = /^[\x21-\x7e]{16,512}$/;
const CACHE = { maxAgeMs: 5_000, maxEntries: 10_000 };

/** Long-lived bearer tokens that operators name and choose. */
@Injectable()
export class ApiTokensService implements OnModuleInit, OnApplicationBootstrap {
  private readonly hashKey: Buffer;
  private readonly found: FreshCache<{ name: string; scope: ApiTokenScope } | null>;

  constructor(
    @InjectDataSource() private readonly dataSource: DataSource,
    private readonly secretBox: SecretBox,
    private readonly settings: SettingsService,
    private readonly events: EventsService,
    private readonly notifications: Notifications,
    clock: Clock,
  ) {
    this.hashKey = secretBox.deriveKey('api-tokens/hash');
    this.found = new FreshCache(clock, CACHE);
  }

  onModuleInit(): void {
    this.notifications.listen(CHANNEL, () => this.found.clear());
    this.notifications.on('reconnected', () => this.found.clear());
    this.settings.provide('api_tokens', {
      read: async () => JSON.stringify(Object.fromEntries((await this.list()).map(({ name }) => [name, MASK]))),
    });
  }

  onApplicationBootstrap(): Promise<void> {
    return this.reseal();
  }

  /** Names and scopes by name, without values. */
  list(): Promise<Pick<ApiToken, 'name' | 'scope' | 'createdAt'>[]> {
    return this.dataSource
      .getRepository(ApiToken)
      .find({ select: { name: true, scope: true, createdAt: true }, order: { name: 'ASC' } });
  }

  /**
   * Makes a token, or gives the one of this name another value. Errors: `api_token_invalid`, `api_token_value_taken` (by
   * another name).
   */
  async upsert(wanted: NewApiToken): Promise<void> {
    const { name, token } = wanted;
    if (name.length < 1 || name.length > 64 || /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}]/u.test(name)) {
      throw apiTokenInvalid('The name of an API token has 1 to 64 characters and no control characters');
    }
    if (!VALUE.test(token)) throw apiTokenInvalid('An API token has 16 to 512 visible ASCII characters, no spaces');
    try {
      await this.dataSource.transaction(async (tx) => {
        const known = await tx.findOne(ApiToken, { where: { name }, lock: { mode: 'pessimistic_write' } });
        // A narrow token must not become an admin's by being given another value.
        const scope = wanted.scope ?? known?.scope ?? 'admin';
        const sealed = this.secretBox.seal(API_TOKEN_LABEL, token);
        await tx.upsert(ApiToken, { name, scope, token: sealed, tokenHash: this.hashOf(token) }, ['name']);
        await this.events.record(
          {
            type: 'AUTH',
            service: 'auth',
            action: known ? 'api_token_updated' : 'api_token_created',
            target: name,
            message: `API token ${name} was ${known ? 'updated' : 'created'}`,
            details: { ...(known ? { before: { scope: known.scope } } : {}), after: { scope } },
          },
          tx,
        );
        await this.notifications.notify(CHANNEL, null, tx);
      });
    } catch (error) {
      const driverError = error instanceof QueryFailedError ? (error.driverError as { constraint?: string }) : {};
      if (driverError.constraint === 'api_tokens_token_hash_key') throw apiTokenValueTaken();
      throw error;
    }
    this.found.clear();
  }

  /** It opens nothing any more when this returns. Errors: `api_token_not_found`. */
  async remove(name: string): Promise<void> {
    await this.dataSource.transaction(async (tx) => {
      const removed = await tx.delete(ApiToken, { name });
      if (removed.affected !== 1) throw apiTokenNotFound(name);
      await this.events.record(
        {
          type: 'AUTH',
          service: 'auth',
          action: 'api_token_deleted',
          target: name,
          message: `API token ${name} was deleted`,
        },
        tx,
      );
      await this.notifications.notify(CHANNEL, null, tx);
    });
    this.found.clear();
  }

  /** The value itself, which the event log remembers was shown. Errors: `api_token_not_found`. */
  async reveal(name: string): Promise<string> {
    const row = await this.dataSource.getRepository(ApiToken).findOneBy({ name });
    if (!row) throw apiTokenNotFound(name);
    const message = `API token ${name} was shown`;
    await this.events.record({ type: 'AUTH', service: 'auth', action: 'api_token_shown', target: name, message });
    return this.secretBox.open(API_TOKEN_LABEL, row.token);
  }

  /** Whose value this is; null: nobody's. */
  async find(token: string): Promise<Principal | null> {
    if (!VALUE.test(token)) return null;
    const tokenHash = this.hashOf(token);
    const row = await this.found.get(tokenHash.toString('base64'), () =>
      this.dataSource.getRepository(ApiToken).findOne({ select: { name: true, scope: true }, where: { tokenHash } }),
    );
    if (!row) return null;
    const full = row.scope === 'admin';
    return {
      kind: 'api_token',
      userId: null,
      name: `token:${row.name}`,
      role: full ? 'admin' : 'user',
      scope: full ? 'full' : 'payments:verify',
      sessionId: null,
      expiresAt: null,
    };
  }

  /** For a restore, in its transaction: these tokens, in the clear, and no others. */
  async replaceAll(tokens: readonly (NewApiToken & { createdAt: Date })[], tx: EntityManager): Promise<void> {
    await tx.createQueryBuilder().delete().from(ApiToken).execute();
    for (const { name, token, scope = 'admin', createdAt } of tokens) {
      const sealed = this.secretBox.seal(API_TOKEN_LABEL, token);
      await tx.insert(ApiToken, { name, scope, createdAt, token: sealed, tokenHash: this.hashOf(token) });
    }
    await this.notifications.notify(CHANNEL, null, tx);
  }

  /** After a change of SECRET_KEY: values sealed with the previous key are sealed and hashed with the present one. */
  async reseal(): Promise<void> {
    const rows = await this.dataSource.getRepository(ApiToken).find();
    for (const row of rows) {
      if (!this.secretBox.needsRotation(row.token)) continue;
      const token = this.secretBox.open(API_TOKEN_LABEL, row.token);
      // Only while it is the value that was read: an operator may be changing it.
      await this.dataSource
        .getRepository(ApiToken)
        .update(
          { name: row.name, tokenHash: row.tokenHash },
          { token: this.secretBox.seal(API_TOKEN_LABEL, token), tokenHash: this.hashOf(token) },
        );
    }
    this.found.clear();
  }

  private hashOf(token: string): Buffer {
    return createHmac('sha256', this.hashKey).update(token).digest();
  }
}
