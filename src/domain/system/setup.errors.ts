import { DomainError } from '../domain-error.js';

export const alreadyInstalled = (): DomainError =>
  new DomainError('conflict', 'already_installed', 'CandyPanel is already installed.');

export const installBusy = (): DomainError =>
  new DomainError('conflict', 'install_busy', 'An installation is under way at this moment.');

export const serverIpInvalid = (): DomainError => new DomainError('invalid', 'server_ip_invalid', 'IP INCORRECT');

export const setupNeedsAdmin = (): DomainError =>
  new DomainError('unauthenticated', 'setup_needs_admin', 'There is an admin already: install with an admin token.');

export const setupTokenWrong = (): DomainError =>
  new DomainError(
    'forbidden',
    'setup_token_wrong',
    'The header X-Setup-Token must carry SETUP_TOKEN, or the set-up token that the server printed when it started.',
  );
