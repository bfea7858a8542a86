import { randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { type EntityManager, Repository } from 'typeorm';
import { Clock } from '../../platform/clock/clock.js';
import { newRecoveryPhrase } from '../../platform/crypto/recovery-phrase.js';
import { SecretBox, SecretBoxError } from '../../platform/crypto/secret-box.js';
import { Installation } from './installation.entity.js';
import { SecretKeyMismatchError } from './installation.errors.js';

const ROW_ID = 1;
const LABEL = 'installation/key-check';
const CHECK_VALUE = 'causeway';

/** Shows twelve words to the operator on the terminal. Never the log, never a file. */
export type PhrasePrinter = (phrase: string) => void | Promise<void>;

/** What `open` found. */
export interface OpenedInstallation {
  installationId: string;
  /** This start made the installation. */
  first: boolean;
  /** The database is still sealed with SECRET_KEY_PREVIOUS: `npm run rotate-key` must be run. */
  rotationPending: boolean;
}

/** The one row about the whole installation: its id, the check of the secret key, the key of the recovery phrase. */
@Injectable()
export class InstallationService {
  private opened: OpenedInstallation | null = null;

  constructor(
    @InjectRepository(Installation) private readonly installations: Repository<Installation>,
    private readonly box: SecretBox,
    private readonly clock: Clock,
  ) {}

  /**
   * Called once at each start, before anything reads a secret. The first start makes the row and shows the recovery
   * phrase just before it commits, so a phrase that counts was always shown; starters that race make one row, and each
   * phrase shown but the last is void. Throws SecretKeyMismatchError on a wrong secret key.
   */
  async open(printPhrase: PhrasePrinter): Promise<OpenedInstallation> {
    const first = (await this.find()) === null && (await this.make(printPhrase));
    const row = await this.find();
    if (row === null) throw new Error('The installation row was taken away while it was read');
    this.opened = {
      installationId: row.installationId,
      first,
      rotationPending: this.checkKey(row.keyCheck),
    };
    return this.opened;
  }

  /** Known after `open`. */
  get installationId(): string {
    if (this.opened === null) throw new Error('The installation was not opened yet');
    return this.opened.installationId;
  }

  /** X25519 public key (32 bytes) that archives wrap their data key for. */
  async recoveryPublicKey(): Promise<Buffer> {
    const row = await this.installations.findOneByOrFail({ id: ROW_ID });
    return row.recoveryPublicKey;
  }

  /** Makes a new phrase and voids the old one for archives to come; those made before still open with the old one. */
  async renewRecoveryPhrase(printPhrase: PhrasePrinter): Promise<void> {
    const { phrase, publicKey } = newRecoveryPhrase();
    await this.installations.manager.transaction(async (manager) => {
      await manager.update(Installation, { id: ROW_ID }, { recoveryPublicKey: publicKey });
      await printPhrase(phrase);
    });
  }

  /** Seals the check value with the current secret key: the last step of a rotation, in its transaction. */
  async resealKeyCheck(manager: EntityManager): Promise<void> {
    await manager.update(Installation, { id: ROW_ID }, { keyCheck: this.box.seal(LABEL, CHECK_VALUE) });
  }

  private find(manager: EntityManager = this.installations.manager): Promise<Installation | null> {
    return manager.findOneBy(Installation, { id: ROW_ID });
  }

  private async make(printPhrase: PhrasePrinter): Promise<boolean> {
    const { phrase, publicKey } = newRecoveryPhrase();
    return this.installations.manager.transaction(async (manager) => {
      const result = await manager
        .createQueryBuilder()
        .insert()
        .into(Installation)
        .values({
          id: ROW_ID,
          installationId: randomUUID(),
          keyCheck: this.box.seal(LABEL, CHECK_VALUE),
          recoveryPublicKey: publicKey,
          createdAt: this.clock.now(),
        })
        .orIgnore()
        .returning('id')
        .execute();
      // Another starter that is still undecided makes the insert wait; one that committed makes it return nothing.
      if ((result.raw as unknown[]).length === 0) return false;
      await printPhrase(phrase);
      return true;
    });
  }

  /** Whether the database still has the previous key. */
  private checkKey(keyCheck: Buffer): boolean {
    try {
      if (this.box.open(LABEL, keyCheck) !== CHECK_VALUE) throw new SecretKeyMismatchError();
      return this.box.needsRotation(keyCheck);
    } catch (error) {
      if (error instanceof SecretBoxError) throw new SecretKeyMismatchError();
      throw error;
    }
  }
}
