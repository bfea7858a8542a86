import { DataSource } from 'typeorm';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { dataSourceOptions } from '../../src/database/data-source.js';
import { Installation } from '../../src/domain/settings/installation.entity.js';
import { SecretKeyMismatchError } from '../../src/domain/settings/installation.errors.js';
import { InstallationService } from '../../src/domain/settings/installation.service.js';
import { Clock } from '../../src/platform/clock/clock.js';
import { recoveryPublicKey } from '../../src/platform/crypto/recovery-phrase.js';
import { SecretBox } from '../../src/platform/crypto/secret-box.js';
import { createDatabase, type TestDatabase } from '../support/database.js';

const OLD = 'o'.repeat(32);
const NEW = 'n'.repeat(32);

describe('the installation', () => {
  let database: TestDatabase;
  let source: DataSource;
  let phrases: string[];
  const print = (phrase: string) => void phrases.push(phrase);
  beforeEach(async () => {
    phrases = [];
    database = await createDatabase();
    source = await new DataSource(dataSourceOptions(database.url)).initialize();
  });
  afterEach(async () => {
    await source.destroy();
    await database.drop();
  });

  function starter(key = OLD, previous: string | null = null): InstallationService {
    return new InstallationService(source.getRepository(Installation), new SecretBox(key, previous), new Clock());
  }

  it('is made by the first start, which shows the phrase once', async () => {
    const first = await starter().open(print);
    expect(first).toMatchObject({ first: true, rotationPending: false });
    const second = starter();
    expect(await second.open(print)).toEqual({ ...first, first: false });
    expect(second.installationId).toBe(first.installationId);
    expect(phrases).toHaveLength(1);
    expect((await second.recoveryPublicKey()).equals(recoveryPublicKey(phrases[0]!))).toBe(true);
  });

  it('is one for starters that race, with one phrase', async () => {
    const opened = await Promise.all(Array.from({ length: 6 }, () => starter().open(print)));
    expect(new Set(opened.map(({ installationId }) => installationId)).size).toBe(1);
    expect(opened.filter(({ first }) => first)).toHaveLength(1);
    expect(phrases).toHaveLength(1);
    expect((await starter().recoveryPublicKey()).equals(recoveryPublicKey(phrases[0]!))).toBe(true);
  });

  it('is not made when its phrase could not be shown', async () => {
    await expect(starter().open(() => Promise.reject(new Error('no terminal')))).rejects.toThrow('no terminal');
    expect(await starter().open(print)).toMatchObject({ first: true });
    expect((await starter().recoveryPublicKey()).equals(recoveryPublicKey(phrases[0]!))).toBe(true);
  });

  it('stops a start with a wrong secret key in one clear line', async () => {
    await starter().open(print);
    const failure = await starter(NEW)
      .open(print)
      .catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(SecretKeyMismatchError);
    expect((failure as Error).message).not.toContain('\n');
    expect((failure as Error).message).toContain('SECRET_KEY_PREVIOUS');
    expect(phrases).toHaveLength(1);
  });

  it('accepts the previous key and tells that a rotation is due, until it was done', async () => {
    await starter().open(print);
    const rotating = starter(NEW, OLD);
    expect(await rotating.open(print)).toMatchObject({ first: false, rotationPending: true });
    await source.transaction((manager) => rotating.resealKeyCheck(manager));
    expect(await starter(NEW).open(print)).toMatchObject({ rotationPending: false });
    await expect(starter(OLD).open(print)).rejects.toThrow(SecretKeyMismatchError);
  });

  it('takes a new phrase', async () => {
    const service = starter();
    await service.open(print);
    await service.renewRecoveryPhrase(print);
    expect(phrases).toHaveLength(2);
    expect((await service.recoveryPublicKey()).equals(recoveryPublicKey(phrases[1]!))).toBe(true);
  });
});
