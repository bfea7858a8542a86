import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { request } from '../../support/http.js';
import { done, Panel } from './panel.js';

describe('API tokens', () => {
  let panel: Panel;

  beforeAll(async () => {
    panel = await Panel.start();
  });

  afterAll(async () => {
    await panel?.server.cleanup();
  });

  const put = (body: unknown) => panel.call<{ detail: string }>('POST', '/api-tokens', body);
  const use = (token: string, path = '/clients') => request(panel.server, 'GET', path, { token });

  it('are made, shown, changed and deleted', async () => {
    expect(await put({ name: 'bot', token: 'first-token-of-the-bot' })).toMatchObject({
      status: 200,
      body: done("API token 'bot' added/updated successfully."),
    });
    expect(await panel.call('GET', '/api-tokens/bot')).toMatchObject({
      status: 200,
      body: { message: 'API token retrieved.', success: true, data: { token: 'first-token-of-the-bot' } },
    });
    expect((await put({ name: 'bot', token: 'second-token-of-the-bot' })).status).toBe(200);
    const shown = await panel.call<{ data: { token: string } }>('GET', '/api-tokens/bot/');
    expect(shown.body.data.token).toBe('second-token-of-the-bot');
    expect(await panel.call('DELETE', '/api-tokens/bot')).toMatchObject({
      status: 200,
      body: done("API token 'bot' deleted successfully."),
    });
  });

  it('that are not there are 404 to read and 400 to delete', async () => {
    for (const name of ['bot', '__proto__', 'a b', 'имя']) {
      const path = `/api-tokens/${encodeURIComponent(name)}`;
      const missing = { detail: `API token '${name}' not found.` };
      expect(await panel.call('GET', path)).toMatchObject({ status: 404, body: missing });
      expect(await panel.call('DELETE', path)).toMatchObject({ status: 400, body: missing });
    }
  });

  it('open the API with an admin’s rights until they change or go', async () => {
    await put({ name: 'shop', token: 'shop-token-0123456789' });
    expect((await use('shop-token-0123456789')).status).toBe(200);
    expect((await use('shop-token-0123456789', '/settings')).status).toBe(200);
    await put({ name: 'shop', token: 'shop-token-9876543210' });
    expect((await use('shop-token-0123456789')).status).toBe(401);
    expect((await use('shop-token-9876543210')).status).toBe(200);
    const { body } = await panel.call<Record<string, string>>('GET', '/settings');
    expect(JSON.parse(body['api_tokens']!)).toEqual({ shop: '********' });
    await panel.call('DELETE', '/api-tokens/shop');
    expect((await use('shop-token-9876543210')).status).toBe(401);
  });

  it('of a narrow scope open nothing here', async () => {
    expect((await put({ name: 'pay', token: 'payments-token-0123', scope: 'payments:verify' })).status).toBe(200);
    expect(await use('payments-token-0123')).toMatchObject({ status: 403, body: { detail: expect.any(String) } });
    expect((await put({ name: 'pay', token: 'payments-token-0123', scope: 'everything' })).status).toBe(400);
    expect((await put({ name: 'pay', token: 'payments-token-4567' })).status).toBe(200);
    expect((await use('payments-token-4567')).status).toBe(403);
    expect((await put({ name: 'pay', token: 'payments-token-4567', scope: 'admin' })).status).toBe(200);
    expect((await use('payments-token-4567')).status).toBe(200);
    await panel.call('DELETE', '/api-tokens/pay');
  });

  it('need a name, and 16 characters or more that a header can carry', async () => {
    const empty = await put({});
    expect(empty.status).toBe(400);
    for (const field of ['name', 'token']) expect(empty.body.detail).toContain(field);
    for (const token of [
      'short',
      'x'.repeat(15),
      'with spaces in between',
      'ключ-ключ-ключ-ключ',
      'x'.repeat(513),
      5,
      null,
    ]) {
      expect((await put({ name: 'weak', token })).status, String(token)).toBe(400);
    }
    for (const name of ['', 'x'.repeat(65), 'a\nb', 5]) {
      expect((await put({ name, token: 'a-token-that-is-fine' })).status, String(name)).toBe(400);
    }
    const short = await put({ name: 'weak', token: 'short' });
    expect(short.body.detail).toMatch(/^Failed to add\/update API token: /);
    expect((await panel.call('GET', '/api-tokens/weak')).status).toBe(404);
  });

  it('do not share a value', async () => {
    await put({ name: 'one', token: 'the-same-token-twice' });
    const answer = await put({ name: 'two', token: 'the-same-token-twice' });
    expect(answer.status).toBe(400);
    expect(answer.body.detail).toMatch(/^Failed to add\/update API token: /);
  });

  it('may be named in any script, and are stored unreadably', async () => {
    for (const name of ['имя бота', '__proto__', 'x'.repeat(64)]) {
      expect((await put({ name, token: `secret-of-${name.length}-characters` })).status, name).toBe(200);
      expect((await panel.call('GET', `/api-tokens/${encodeURIComponent(name)}`)).status, name).toBe(200);
    }
    const { body } = await panel.call<Record<string, string>>('GET', '/settings');
    expect(Object.keys(JSON.parse(body['api_tokens']!) as object)).toContain('__proto__');
    expect(panel.server.logs()).not.toContain('secret-of-');
  });
});
