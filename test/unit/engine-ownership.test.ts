import { EventEmitter } from 'node:events';
import type { Repository } from 'typeorm';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { EnginesService } from '../../src/domain/engines/engines.service.js';
import type { EngineHandler, EngineHealth } from '../../src/domain/engines/engine.handler.js';
import type { EngineStatus } from '../../src/domain/engines/engine-status.entity.js';
import type { EventsService } from '../../src/domain/events/events.service.js';
import { loadConfig } from '../../src/platform/config/config.loader.js';
import type { Notifications } from '../../src/platform/locks/notifications.js';
import { SessionLock } from '../../src/platform/locks/session-lock.js';
import { silentLog } from '../support/silent-log.js';

/** An engine whose taking over takes as long, and ends, as the test says. */
class Handler implements EngineHandler {
  readonly id = 'fake';
  state: EngineHealth['state'] = 'up';
  readonly takings: { succeed(): void; fail(error: Error): void }[] = [];

  takeOver(): Promise<void> {
    return new Promise((succeed, fail) => this.takings.push({ succeed, fail }));
  }

  letGo = () => Promise.resolve();
  apply = () => Promise.resolve(new Map<string, Error>());
  command = () => Promise.resolve(null);
  health = (): EngineHealth => ({ state: this.state, message: `it is ${this.state}`, hint: null });
}

describe('the owner of an engine', () => {
  const made: { lock?: EventEmitter } = {};
  let rows: EngineStatus[];
  let handler: Handler;
  let engines: EnginesService;

  const settle = () => vi.advanceTimersByTimeAsync(0);

  beforeEach(async () => {
    vi.useFakeTimers();
    vi.spyOn(SessionLock.prototype, 'acquire').mockImplementation(function (this: SessionLock) {
      made.lock = this;
      return Promise.resolve();
    });
    rows = [];
    handler = new Handler();
    const repository = { find: () => Promise.resolve(rows), upsert: () => Promise.resolve() };
    const notifications = { notify: () => Promise.resolve() };
    engines = new EnginesService(
      loadConfig({}),
      '',
      repository as unknown as Repository<EngineStatus>,
      notifications as unknown as Notifications,
      { record: () => Promise.resolve() } as unknown as EventsService,
      silentLog(),
    );
    engines.register(handler);
    await engines.onApplicationBootstrap();
  });

  afterEach(async () => {
    await engines.beforeApplicationShutdown();
    vi.useRealTimers();
    vi.restoreAllMocks();
  });

  it('tries again when taking it over failed, and says nothing of why to callers', async () => {
    made.lock!.emit('acquired');
    await settle();
    handler.takings[0]!.fail(new Error('SELECT secret FROM nowhere'));
    await settle();
    const { state, message } = await engines.healthOf('fake');
    expect([state, message]).toEqual(['down', 'fake could not be taken over']);
    await expect(engines.assertDriven('fake')).rejects.toMatchObject({ code: 'engine_unavailable' });
    await vi.advanceTimersByTimeAsync(2_000);
    handler.takings[1]!.succeed();
    await settle();
    expect(engines.drives('fake')).toBe(true);
  });

  it('who lost the lock while taking it over neither drives it nor tries again', async () => {
    for (const end of ['fail', 'succeed'] as const) {
      const before = handler.takings.length;
      made.lock!.emit('acquired');
      await settle();
      made.lock!.emit('lost');
      if (end === 'fail') handler.takings.at(-1)!.fail(new Error('the database is away'));
      else handler.takings.at(-1)!.succeed();
      await vi.advanceTimersByTimeAsync(10_000);
      expect(handler.takings).toHaveLength(before + 1);
      expect(engines.drives('fake')).toBe(false);
    }
    made.lock!.emit('acquired');
    await settle();
    expect(engines.drives('fake')).toBe(false);
    handler.takings.at(-1)!.succeed();
    await settle();
    expect(engines.drives('fake')).toBe(true);
  });

  it('lets changes pass that may mend an engine that is down, but none to one that is absent', async () => {
    made.lock!.emit('acquired');
    handler.state = 'down';
    const asked = engines.assertDriven('fake');
    await settle();
    handler.takings[0]!.succeed();
    await expect(asked).resolves.toBeUndefined();
    await expect(engines.assertUp('fake')).rejects.toMatchObject({ code: 'engine_unavailable' });
    await expect(engines.assertDriven('fake')).resolves.toBeUndefined();
    handler.state = 'absent';
    await expect(engines.assertDriven('fake')).rejects.toMatchObject({ code: 'engine_unavailable' });
  });

  it('is another process as long as that one is heard of', async () => {
    const row = { id: 'fake', state: 'down' as const, message: 'broken', hint: null };
    rows = [{ ...row, seenAt: new Date() }];
    await expect(engines.assertDriven('fake')).resolves.toBeUndefined();
    rows = [{ ...row, seenAt: new Date(Date.now() - 30_000) }];
    await vi.advanceTimersByTimeAsync(2_000);
    await expect(engines.assertDriven('fake')).rejects.toMatchObject({ code: 'engine_unavailable' });
  });
});
