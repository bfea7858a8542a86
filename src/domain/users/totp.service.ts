import { Injectable } from '@nestjs/common';
import { InjectDataSource } from '@nestjs/typeorm';
import { DataSource } from 'typeorm';
import { Clock } from '../../platform/clock/clock.js';
import { SecretBox } from '../../platform/crypto/secret-box.js';
import { checkTotp, newTotpSecret, totpUri } from '../../platform/crypto/totp.js';
import { EventsService } from '../events/events.service.js';
import { User } from './user.entity.js';
import { totpCodeWrong, totpEnabledAlready, totpNotBegun } from './users.errors.js';
import { UsersService } from './users.service.js';

export const TOTP_SECRET_LABEL = 'users/totp-secret';
const ISSUER = 'Causeway';

/** The second factor of users who want one. */
@Injectable()
export class TotpService {
  constructor(
    @InjectDataSource() private readonly dataSource: DataSource,
    private readonly users: UsersService,
    private readonly events: EventsService,
    private readonly secretBox: SecretBox,
    private readonly clock: Clock,
  ) {}

  /**
   * Makes a secret for the user's app; it counts once `confirm` has seen a code of it, and beginning again replaces it.
   * Errors: `user_not_found`, `totp_enabled_already`.
   */
  begin(userId: number): Promise<{ secret: string; uri: string }> {
    return this.users.change(userId, async (user, tx) => {
      if (user.totpEnabled) throw totpEnabledAlready();
      const secret = newTotpSecret();
      await tx.update(
        User,
        { id: userId },
        { totpSecret: this.secretBox.seal(TOTP_SECRET_LABEL, secret), totpLastStep: 0 },
      );
      return { secret, uri: totpUri(secret, user.username, ISSUER) };
    });
  }

  /** From now on the user needs a code to log in. Errors: `totp_not_begun`, `totp_enabled_already`, `totp_code_wrong`. */
  async confirm(userId: number, code: string): Promise<void> {
    await this.users.change(userId, async (user, tx) => {
      if (user.totpEnabled) throw totpEnabledAlready();
      if (!user.totpSecret) throw totpNotBegun();
      const step = this.stepOf(user, code);
      if (step === null) throw totpCodeWrong();
      await tx.update(User, { id: userId }, { totpEnabled: true, totpLastStep: step });
      const message = `Two-factor login of ${user.username} is on`;
      await this.events.record(
        { type: 'USER', service: 'users', action: 'totp_enabled', target: user.username, message },
        tx,
      );
    });
  }

  /** Needs no code: whoever calls this has asked for one, or is an admin who helps out. Errors: `user_not_found`. */
  async disable(userId: number): Promise<void> {
    await this.users.change(userId, async (user, tx) => {
      await tx.update(User, { id: userId }, { totpEnabled: false, totpSecret: null, totpLastStep: 0 });
      const message = `Two-factor login of ${user.username} is off`;
      await this.events.record(
        { type: 'USER', severity: 'WARN', service: 'users', action: 'totp_disabled', target: user.username, message },
        tx,
      );
    });
  }

  /** Whether the code is right and was not used before; it is used up now, whichever process asks. */
  async use(user: User, code: string): Promise<boolean> {
    const step = this.stepOf(user, code);
    if (step === null) return false;
    const used = await this.dataSource
      .createQueryBuilder()
      .update(User)
      .set({ totpLastStep: step })
      .where('id = :id AND totp_last_step < :step', { id: user.id, step })
      .execute();
    return used.affected === 1;
  }

  private stepOf(user: User, code: string): number | null {
    if (!user.totpSecret) return null;
    const secret = this.secretBox.open(TOTP_SECRET_LABEL, user.totpSecret);
    return checkTotp(secret, code.replaceAll(' ', ''), user.totpLastStep, this.clock.nowMs());
  }
}
