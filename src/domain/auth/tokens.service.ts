import { randomUUID } from 'node:crypto';
import { Injectable, type OnModuleInit } from '@nestjs/common';
import { JwtService } from '@nestjs/jwt';
import { Cron } from '@nestjs/schedule';
import { InjectDataSource } from '@nestjs/typeorm';
import { DataSource, LessThan } from 'typeorm';
import { FreshCache } from '../../platform/cache/fresh-cache.js';
import { Clock } from '../../platform/clock/clock.js';
import { Notifications } from '../../platform/locks/notifications.js';
import { EventsService } from '../events/events.service.js';
import type { Role, User } from '../users/user.entity.js';
import { UsersService } from '../users/users.service.js';
import { tokenInvalid } from './auth.errors.js';
import type { Principal } from './principal.js';
import { RevokedSession } from './revoked-session.entity.js';
import { TOKEN_ALGORITHM, TOKEN_ISSUER } from './token-key.js';

export type TokenType = 'access' | 'refresh';

export interface IssuedToken {
  token: string;
  /** The token's `jti`. */
  sessionId: string;
  /** Whole seconds. */
  expiresAt: Date;
}

interface Claims {
  sub: string;
  role: Role;
  ver: number;
  typ: TokenType;
  jti: string;
  iat: number;
  exp: number;
}

/** What the database says of a token's user and session. */
interface Standing {
  username: string;
  role: Role;
  isActive: boolean;
  tokenVersion: number;
  revoked: boolean;
}

const CHANNEL = 'sessions';
const LONGEST_TOKEN = 2048;
const CACHE = { maxAgeMs: 5_000, maxEntries: 20_000 };
/** Tokens whose signature was found good are not worked out again, up to so many. */
const MOST_KNOWN_TOKENS = 5_000;

/** Signed tokens of users: one kind for all dialects. */
@Injectable()
export class TokensService implements OnModuleInit {
  private readonly standings: FreshCache<Standing | null>;
  private readonly signed = new Map<string, Claims>();

  constructor(
    @InjectDataSource() private readonly dataSource: DataSource,
    private readonly jwt: JwtService,
    private readonly users: UsersService,
    private readonly events: EventsService,
    private readonly notifications: Notifications,
    private readonly clock: Clock,
  ) {
    this.standings = new FreshCache(clock, CACHE);
  }

  onModuleInit(): void {
    this.users.onChange(() => this.standings.clear());
    this.notifications.listen(CHANNEL, (payload) => {
      const { key } = payload as { key?: unknown };
      if (typeof key === 'string') this.standings.drop(key);
    });
    this.notifications.on('reconnected', () => this.standings.clear());
  }

  issue(user: Pick<User, 'id' | 'role' | 'tokenVersion'>, kind: { typ: TokenType; ttlSeconds: number }): IssuedToken {
    const iat = Math.floor(this.clock.nowMs() / 1000);
    const exp = iat + kind.ttlSeconds;
    const jti = randomUUID();
    const claims: Claims = {
      sub: String(user.id),
      role: user.role,
      ver: user.tokenVersion,
      typ: kind.typ,
      jti,
      iat,
      exp,
    };
    const token = this.jwt.sign(claims, { algorithm: TOKEN_ALGORITHM, issuer: TOKEN_ISSUER });
    return { token, sessionId: jti, expiresAt: new Date(exp * 1000) };
  }

  /**
   * Whose token this is. What changed about the user counts at once, and after 5 s at most while notifications are away.
   * Throws `token_invalid`: not ours, expired, of the other kind, logged out, or its user changed the password, was
   * deactivated or deleted.
   */
  async verify(token: string, typ: TokenType): Promise<Principal> {
    const claims = this.claimsOf(token);
    if (claims?.typ !== typ) throw tokenInvalid();
    const standing = await this.standings.get(keyOf(claims.sub, claims.jti), () => this.standingOf(claims));
    const principal = standing && principalOf(claims, standing);
    if (!principal) throw tokenInvalid();
    return principal;
  }

  /** The same from memory, without waiting; null when the database must be asked, or the token does not count. */
  recall(token: string, typ: TokenType): Principal | null {
    const claims = this.claimsOf(token);
    if (claims?.typ !== typ) return null;
    const standing = this.standings.peek(keyOf(claims.sub, claims.jti));
    return standing ? principalOf(claims, standing) : null;
  }

  /**
   * Who signed in with this access token, by its signature alone: cheap, and enough to count requests by. Whether the
   * token still counts only `verify` knows. Null for anything but a token of ours.
   */
  signedBy(token: string): { userId: number; sessionId: string } | null {
    const claims = this.claimsOf(token);
    return claims?.typ === 'access' ? { userId: Number(claims.sub), sessionId: claims.jti } : null;
  }

  /** Ends this one token; doing it twice is fine. API tokens have no session and stay. */
  async revoke(principal: Principal): Promise<void> {
    const { userId, sessionId, expiresAt } = principal;
    if (userId === null || sessionId === null || expiresAt === null) return;
    const key = keyOf(String(userId), sessionId);
    await this.dataSource.transaction(async (tx) => {
      const inserted = await tx
        .createQueryBuilder()
        .insert()
        .into(RevokedSession)
        .values({ id: sessionId, expiresAt })
        .orIgnore()
        .returning('id')
        .execute();
      if ((inserted.raw as unknown[]).length === 0) return;
      await this.events.record(
        {
          type: 'AUTH',
          service: 'auth',
          action: 'logout',
          target: principal.name,
          message: `${principal.name} logged out`,
        },
        tx,
      );
      await this.notifications.notify(CHANNEL, { key }, tx);
    });
    this.standings.drop(key);
  }

  /** Forgets revocations of tokens that have expired since. */
  @Cron('41 * * * *', { timeZone: 'UTC' })
  async purge(): Promise<void> {
    await this.dataSource.getRepository(RevokedSession).delete({ expiresAt: LessThan(this.clock.now()) });
  }

  /** A signature stays as good as it was, but its date passes. */
  private claimsOf(token: string): Claims | null {
    const known = this.signed.get(token);
    if (known !== undefined) return Math.floor(this.clock.nowMs() / 1000) < known.exp ? known : null;
    const claims = this.checkedClaims(token);
    if (claims === null) return null;
    if (this.signed.size >= MOST_KNOWN_TOKENS) this.signed.clear();
    this.signed.set(token, claims);
    return claims;
  }

  private checkedClaims(token: string): Claims | null {
    if (token.length > LONGEST_TOKEN) return null;
    try {
      const claims = this.jwt.verify<Partial<Claims>>(token, {
        algorithms: [TOKEN_ALGORITHM],
        issuer: TOKEN_ISSUER,
        clockTimestamp: Math.floor(this.clock.nowMs() / 1000),
      });
      const { sub, ver, jti, exp } = claims;
      const complete =
        typeof sub === 'string' &&
        /^[1-9]\d{0,9}$/.test(sub) &&
        typeof ver === 'number' &&
        typeof jti === 'string' &&
        /^[0-9a-f-]{36}$/.test(jti) &&
        typeof exp === 'number';
      return complete ? (claims as Claims) : null;
    } catch {
      return null;
    }
  }

  private async standingOf(claims: Claims): Promise<Standing | null> {
    const [row] = await this.dataSource.query<Standing[]>(
      `SELECT username, role, is_active AS "isActive", token_version AS "tokenVersion",
              EXISTS (SELECT 1 FROM revoked_sessions WHERE id = $2) AS revoked
         FROM users WHERE id = $1`,
      [claims.sub, claims.jti],
    );
    return row ?? null;
  }
}

/** Null when the token does not count any more. */
function principalOf(claims: Claims, standing: Standing): Principal | null {
  if (!standing.isActive || standing.revoked) return null;
  if (standing.tokenVersion !== claims.ver || standing.role !== claims.role) return null;
  return {
    kind: 'user',
    userId: Number(claims.sub),
    name: standing.username,
    role: standing.role,
    scope: 'full',
    sessionId: claims.jti,
    expiresAt: new Date(claims.exp * 1000),
  };
}

function keyOf(sub: string, jti: string): string {
  return `${sub}/${jti}`;
}
