import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { done, Panel } from './panel.js';

describe('the dashboard', () => {
  let panel: Panel;

  beforeAll(async () => {
    panel = await Panel.start();
  });

  afterAll(async () => {
    await panel?.server.cleanup();
  });

  it('shows host and tunnels in the documented units, all as text', async () => {
    await panel.create('one');
    await panel.create('two');
    const answer = await panel.call<Record<string, string>>('GET', '/dashboard');
    expect(answer).toMatchObject({
      status: 200,
      body: {
        cpu: expect.stringMatching(/^\d{1,3}\.\d%$/),
        mem: {
          total: expect.stringMatching(/^\d+\.\d\d GB$/),
          available: expect.stringMatching(/^\d+\.\d\d GB$/),
          usage: expect.stringMatching(/^\d{1,3}\.\d%$/),
        },
        clients_count: 2,
        status: '1',
        alert: expect.any(Array),
        bandwidth: '0',
        uptime: expect.stringMatching(/^[1-9]\d*$/),
        net: {
          download: expect.stringMatching(/^\d+\.\d\d KB\/s$/),
          upload: expect.stringMatching(/^\d+\.\d\d KB\/s$/),
        },
      },
    });
    const memory = answer.body['mem'] as unknown as { total: string; available: string };
    expect(Number.parseFloat(memory.total)).toBeGreaterThan(0);
    expect(Number.parseFloat(memory.available)).toBeLessThanOrEqual(Number.parseFloat(memory.total));
  });

  it('is answered from memory, not measured while the caller waits', async () => {
    const begun = performance.now();
    for (let round = 0; round < 10; round += 1) expect((await panel.call('GET', '/dashboard')).status).toBe(200);
    expect(performance.now() - begun).toBeLessThan(5_000);
  });

  it('has a sync that answers when it is done', async () => {
    expect(await panel.call('POST', '/sync')).toMatchObject({
      status: 200,
      body: done('Synchronization process initiated successfully.'),
    });
    expect((await panel.call('POST', '/sync/', {})).status).toBe(200);
  });

  it('has one sync at a time', async () => {
    const answers = await Promise.all(Array.from({ length: 6 }, () => panel.call('POST', '/sync')));
    expect(answers.some(({ status }) => status === 200)).toBe(true);
    for (const { status, body } of answers) {
      if (status !== 200) expect({ status, body }).toEqual({ status: 409, body: { detail: expect.any(String) } });
    }
  });
});
