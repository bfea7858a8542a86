import { DomainError } from '../domain-error.js';

export const xrayUserNotFound = (name: string): DomainError =>
  new DomainError('not_found', 'xray_user_not_found', `User '${name}' not found`, { name });

export const xrayUserExists = (email: string): DomainError =>
  new DomainError('conflict', 'xray_user_exists', `User '${email}' already exists`, { email });

export const xrayEmailInvalid = (): DomainError =>
  new DomainError(
    'invalid',
    'xray_email_invalid',
    'An email has one @, at most 255 characters, and no white space, quotes, $ { } < or >',
  );

export const xrayAliasInvalid = (): DomainError =>
  new DomainError('invalid', 'xray_alias_invalid', 'An alias has at most 128 characters and no control characters');

export const xrayUserUnnamed = (): DomainError =>
  new DomainError('invalid', 'xray_user_unnamed', 'A user is named by email or uuid');

export const xrayUserLimitInvalid = (): DomainError =>
  new DomainError(
    'invalid',
    'xray_user_limit_invalid',
    'A traffic limit is a whole number of bytes from 0 (unlimited) to 9223372036854775807',
  );

export const xrayUserNoUpdate = (): DomainError =>
  new DomainError('invalid', 'xray_user_no_update', 'Nothing to change was given');

export const xraySettingInvalid = (key: string, reason: string): DomainError =>
  new DomainError('invalid', 'xray_setting_invalid', `${key} ${reason}`, { key, reason });

export const xrayServerHostMissing = (): DomainError =>
  new DomainError(
    'conflict',
    'xray_server_host_missing',
    'A link needs the host that clients connect to: set server_host in the Xray settings',
  );

export const xrayInboundMissing = (): DomainError =>
  new DomainError(
    'conflict',
    'xray_inbound_missing',
    'There is no inbound yet: add a user or set the Xray settings first',
  );

export const xrayRealityMissing = (reason: string): DomainError =>
  new DomainError('conflict', 'xray_reality_missing', reason);

export const xraySpanInvalid = (name: string, least: number, most: number): DomainError =>
  new DomainError('invalid', 'xray_span_invalid', `${name} must be from ${least} to ${most}`, { name, least, most });

export const xrayDateInvalid = (): DomainError =>
  new DomainError('invalid', 'xray_date_invalid', 'A date is a day that exists, as YYYY-MM-DD, and not in the future');
