import { describe, expect, it } from 'vitest';
import { AppLogger } from '../../src/platform/logging/app-logger.js';
import { createLogger } from '../../src/platform/logging/logger.js';
import { NestLogger } from '../../src/platform/logging/nest-logger.service.js';

function capture(): { log: AppLogger; lines: () => Record<string, unknown>[]; text: () => string } {
  const written: string[] = [];
  const pino = createLogger('trace', { write: (line: string) => void written.push(line) });
  return {
    log: new AppLogger(pino),
    lines: () => written.map((line) => JSON.parse(line) as Record<string, unknown>),
    text: () => written.join(''),
  };
}

describe('the log', () => {
  it('is JSON lines with level, ISO time and message', () => {
    const { log, lines } = capture();
    log.info('started', { port: 8000 });
    expect(lines()[0]).toMatchObject({ level: 'info', port: 8000, msg: 'started' });
    expect(lines()[0]!.time).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  });

  it('holds no secret, wherever it stood', () => {
    const { log, text, lines } = capture();
    const s = 'hunter2-hunter2';
    log.info(`GET /ws?token=${s}&x=1`, { url: `/api?a=1&access_token=${s}#f` });
    log.info('request', {
      headers: { authorization: `Bearer ${s}`, Cookie: `sid=${s}`, 'set-cookie': [`a=${s}]`, s] },
    });
    log.info('deep', { a: { b: [{ c: { newPassword: `q"\\${s}`, presharedKey: s, api_token: s } }] } });
    log.child({ session_token: s }).warn('child');
    log.error('failed', { err: new Error(`connect postgres://u:${s}@db:5432/x`, { cause: new Error(`Basic ${s}`) }) });
    log.warn('bot', { url: `https://api.telegram.org/bot123456:${s}/getMe` });
    log.warn('number', { password: 12345678, tokenCount: 3 });
    log.error('query', {
      err: Object.assign(new Error('insert failed'), { parameters: [s], query: s, code: '23505' }),
    });
    expect(text()).not.toContain('hunter2');
    expect(text()).not.toContain('12345678');
    expect(text()).toContain('/ws?token=***&x=1');
    expect(lines()).toHaveLength(8);
    expect(lines()[6]).toMatchObject({ tokenCount: 3 });
    expect(lines()[7]).toMatchObject({ err: { message: 'insert failed', code: '23505' } });
  });

  it('takes what Nest says, with context and stack', () => {
    const { log, lines } = capture();
    const nest = new NestLogger(log.pino);
    nest.warn('careful', 'Router');
    nest.error('broken', 'Error: broken\n  at x', 'Injector');
    nest.error(new Error('thrown'), 'Injector');
    expect(lines()).toMatchObject([
      { level: 'warn', context: 'Router', msg: 'careful' },
      { level: 'error', context: 'Injector', stack: 'Error: broken\n  at x', msg: 'broken' },
      { level: 'error', context: 'Injector', msg: 'thrown', err: { message: 'thrown' } },
    ]);
  });
});
