import { DataSource } from 'typeorm';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Notifications } from '../../src/platform/locks/notifications.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { beginOutage } from '../support/outage.js';
import { silentLog } from '../support/silent-log.js';
import { eventually } from '../support/wait.js';

describe('notifications', () => {
  let database: TestDatabase;
  let here: Notifications;
  let there: Notifications;
  const lines: string[] = [];
  beforeAll(async () => {
    database = await createDatabase({ empty: true });
  });
  afterAll(() => database.drop());
  beforeEach(async () => {
    lines.length = 0;
    here = new Notifications(database.url, silentLog(lines));
    there = new Notifications(database.url, silentLog());
    await Promise.all([here.start(), there.start()]);
  });
  afterEach(() => Promise.all([here.stop(), there.stop()]));

  it('reach every listener of their channel, the sender too', async () => {
    const heard: unknown[] = [];
    here.listen('one', (payload) => void heard.push(['here', payload]));
    here.listen('one', (payload) => void heard.push(['again', payload]));
    there.listen('one', (payload) => void heard.push(['there', payload]));
    there.listen('two', (payload) => void heard.push(['two', payload]));
    await Promise.all([here.whenListening(), there.whenListening()]);
    await here.notify('one', { text: "O'Reilly ключ\n", list: [1, null] });
    await here.notify('three', 1);
    await eventually(() => heard.length >= 3);
    const payload = { text: "O'Reilly ключ\n", list: [1, null] };
    expect(heard).toHaveLength(3);
    expect(heard).toEqual(
      expect.arrayContaining([
        ['here', payload],
        ['again', payload],
        ['there', payload],
      ]),
    );
  });

  it('go out with the transaction, and never without it', async () => {
    const heard: unknown[] = [];
    here.listen('one', (payload) => void heard.push(payload));
    await here.whenListening();
    const source = await new DataSource({ type: 'postgres', url: database.url }).initialize();
    try {
      await source
        .transaction(async (manager) => {
          await there.notify('one', 'rolled back', manager);
          throw new Error('rollback');
        })
        .catch(() => undefined);
      await source.transaction((manager) => there.notify('one', 'committed', manager));
    } finally {
      await source.destroy();
    }
    await eventually(() => heard.length > 0);
    expect(heard).toEqual(['committed']);
  });

  it('come back after an outage and say so, and those sent meanwhile wait for it', async () => {
    const heard: unknown[] = [];
    let reconnected = 0;
    here.listen('one', (payload) => void heard.push(payload));
    here.on('reconnected', () => (reconnected += 1));
    await here.whenListening();
    const outage = await beginOutage(database);
    await eventually(() => lines.some((line) => line.includes('interrupted')));
    const sent = there.notify('one', 'meanwhile');
    sent.catch(() => undefined);
    await outage.end();
    await eventually(() => reconnected === 1);
    await sent.catch(() => undefined);
    await here.whenListening();
    await there.notify('one', 'after');
    await eventually(() => heard.includes('after'));
    expect(reconnected).toBe(1);
  });

  it('start before the database does, and tell late listeners to read afresh', async () => {
    const outage = await beginOutage(database);
    const early = new Notifications(database.url, silentLog());
    try {
      let reconnected = 0;
      const heard: unknown[] = [];
      early.on('reconnected', () => (reconnected += 1));
      early.listen('one', (payload) => void heard.push(payload));
      await early.start();
      await outage.end();
      await early.whenListening();
      await early.notify('one', 'hello');
      await eventually(() => heard.length === 1);
      expect(reconnected).toBe(1);
    } finally {
      await early.stop();
    }
  });

  it('that a handler cannot bear do not stop the others', async () => {
    const heard: unknown[] = [];
    here.listen('one', () => {
      throw new Error('broken');
    });
    here.listen('one', () => Promise.reject(new Error('broken later')));
    here.listen('one', (payload) => void heard.push(payload));
    await here.whenListening();
    await here.notify('one', 1);
    await eventually(() => heard.length === 1);
    const failures = () => lines.filter((line) => line.includes('notification handler failed'));
    await eventually(() => failures().length === 2);
    expect(heard).toEqual([1]);
  });

  it('are refused when they are too long or their channel is no name', async () => {
    await expect(here.notify('one', 'x'.repeat(7_899))).rejects.toThrow(RangeError);
    await expect(here.notify('one', 'x'.repeat(7_898))).resolves.toBeUndefined();
    await expect(here.notify('one"; DROP TABLE x', 1)).rejects.toThrow('Not the name of a channel');
    expect(() => here.listen('One', () => undefined)).toThrow('Not the name of a channel');
  });
});
