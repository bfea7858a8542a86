import { DomainError } from '../domain-error.js';

/** The database belongs to another SECRET_KEY. Starting anyway would lose every secret in it. */
export class SecretKeyMismatchError extends DomainError {
  constructor() {
    super(
      'internal',
      'secret_key_mismatch',
      'SECRET_KEY is not the key that this database was made with: bring back that key (SECRET_KEY, SECRET_KEY_FILE or ' +
        'DATA_DIR/secret.key), or set SECRET_KEY_PREVIOUS to it and run `npm run rotate-key`.',
    );
    this.name = 'SecretKeyMismatchError';
  }
}
