import { DomainError } from '../domain-error.js';

export const wrongCredentials = (): DomainError =>
  new DomainError('unauthenticated', 'wrong_credentials', 'Wrong username or password!');

export const totpRequired = (): DomainError =>
  new DomainError('unauthenticated', 'totp_required', 'A two-factor code is needed: send it as totp');

export const totpWrong = (): DomainError =>
  new DomainError('unauthenticated', 'totp_wrong', 'The two-factor code is wrong');

export const loginLimited = (retryAfterSeconds: number): DomainError =>
  new DomainError('limited', 'login_limited', `Too many failed logins, try again in ${retryAfterSeconds} s`, {
    retryAfterSeconds,
  });

export const tokenInvalid = (): DomainError =>
  new DomainError('unauthenticated', 'token_invalid', 'The token is not valid or has expired');

export const apiTokenNotFound = (name: string): DomainError =>
  new DomainError('not_found', 'api_token_not_found', 'There is no API token of this name', { name });

export const apiTokenInvalid = (reason: string): DomainError => new DomainError('invalid', 'api_token_invalid', reason);

export const apiTokenValueTaken = (): DomainError =>
  new DomainError('conflict', 'api_token_value_taken', 'Another API token has this value');
