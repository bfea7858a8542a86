import { BadRequestException, HttpException, ImATeapotException, NotFoundException } from '@nestjs/common';
import { ThrottlerException } from '@nestjs/throttler';
import { errorCodes } from 'fastify';
import { describe, expect, it } from 'vitest';
import { QueryFailedError, QueryRunnerAlreadyReleasedError } from 'typeorm';
import { DomainError } from '../../src/domain/domain-error.js';
import { toDomainError } from '../../src/http/to-domain-error.js';

const told = (error: unknown) => {
  const { kind, code } = toDomainError(error);
  return `${kind} ${code}`;
};

const driverError = (message: string, code?: string) => Object.assign(new Error(message), code ? { code } : {});

describe('turning what was thrown into kinds', () => {
  it('leaves an error of the domain as it is', () => {
    const error = new DomainError('conflict', 'client_exists', 'There is one already');
    expect(toDomainError(error)).toBe(error);
  });

  it("knows Fastify's errors by their code", () => {
    expect(told(new errorCodes.FST_ERR_CTP_BODY_TOO_LARGE())).toBe('too_large body_too_large');
    expect(told(new errorCodes.FST_ERR_CTP_INVALID_MEDIA_TYPE('text/csv'))).toBe('invalid unsupported_media_type');
    expect(told(new errorCodes.FST_ERR_BAD_URL('/%zz'))).toBe('invalid malformed_url');
  });

  it("knows Fastify's errors inside of Nest's", () => {
    const wrapped = new HttpException('x', 413, { cause: new errorCodes.FST_ERR_CTP_BODY_TOO_LARGE() });
    expect(told(wrapped)).toBe('too_large body_too_large');
  });

  it("knows Nest's and the throttler's errors by their status", () => {
    expect(told(new NotFoundException())).toBe('not_found not_found');
    expect(told(new BadRequestException('internal detail'))).toBe('invalid bad_request');
    expect(told(new ImATeapotException())).toBe('invalid bad_request');
    expect(told(new ThrottlerException())).toBe('limited rate_limited');
    expect(told(new HttpException('x', 502))).toBe('internal internal_error');
  });

  it('repeats no text that it did not write', () => {
    for (const error of [
      new BadRequestException('SELECT 1'),
      new Error('SELECT 1'),
      driverError('SELECT 1', '42P01'),
    ]) {
      expect(toDomainError(error).message).not.toContain('SELECT');
    }
  });

  it.each([
    ['a closed connection', driverError('Connection terminated unexpectedly')],
    ['a pool that gets none', driverError('timeout exceeded when trying to connect')],
    ['a server that shuts down', driverError('terminating connection', '57P01')],
    ['a database that lets nobody in', Object.assign(driverError('no', '55000'), { severity: 'FATAL' })],
    ['a statement that took too long', driverError('canceling statement due to statement timeout', '57014')],
    ['a full disk', driverError('could not extend file', '53100')],
    ['a refused connection', driverError('connect ECONNREFUSED 127.0.0.1:5432', 'ECONNREFUSED')],
  ])('tells a database that is away from a fault: %s', (_name, cause) => {
    expect(told(new QueryFailedError('SELECT 1', [], cause))).toBe('unavailable database_unavailable');
  });

  it('tells a connection that broke within a transaction from a fault', () => {
    expect(told(new QueryRunnerAlreadyReleasedError())).toBe('unavailable database_unavailable');
  });

  it('takes a refused connection elsewhere for a fault of ours', () => {
    expect(told(driverError('connect ECONNREFUSED 192.0.2.1:443', 'ECONNREFUSED'))).toBe('internal internal_error');
  });

  it('takes text that PostgreSQL cannot store for bad input', () => {
    const cause = driverError('invalid byte sequence for encoding "UTF8": 0x00', '22021');
    expect(told(new QueryFailedError('SELECT 1', [], cause))).toBe('invalid text_not_storable');
  });

  it('calls everything else internal and keeps the cause for the log', () => {
    const cause = new TypeError('x is undefined');
    const error = toDomainError(cause);
    expect(error.kind).toBe('internal');
    expect(error.cause).toBe(cause);
    expect(told('thrown text')).toBe('internal internal_error');
    expect(told(undefined)).toBe('internal internal_error');
  });
});
