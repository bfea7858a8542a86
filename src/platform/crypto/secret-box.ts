import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';

// version (1), key id (4), nonce (12), ciphertext, tag (16)
const VERSION = 1;
const KEY_ID_BYTES = 4;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const HEADER_BYTES = 1 + KEY_ID_BYTES;
const OVERHEAD_BYTES = HEADER_BYTES + NONCE_BYTES + TAG_BYTES;

export type SecretBoxFault = 'malformed' | 'unknown_key' | 'damaged';

const FAULT_TEXTS: Record<SecretBoxFault, string> = {
  malformed: 'This is not a sealed value, or one of a newer version',
  unknown_key: 'The value was sealed with another SECRET_KEY',
  damaged: 'The sealed value is damaged, or was sealed for another use',
};

/** A sealed value that does not open. Names the reason and nothing of the content. */
export class SecretBoxError extends Error {
  constructor(readonly fault: SecretBoxFault) {
    super(FAULT_TEXTS[fault]);
    this.name = 'SecretBoxError';
  }
}

/** SECRET_KEY and SECRET_KEY_PREVIOUS themselves. */
export interface SecretKeys {
  secretKey: string;
  previousKey: string | null;
}

/**
 * Seals secrets for the database with AES-256-GCM. Each label (`clients/private-key`) has a key of its own, derived from
 * the secret key by HKDF-SHA256; labels are constants of the code, never built from data. Values sealed with the
 * previous key still open, new ones are always sealed with the current key.
 */
export class SecretBox {
  private readonly current: KeyRing;
  private readonly byId = new Map<number, KeyRing>();

  /** Both keys are the whole text of SECRET_KEY and SECRET_KEY_PREVIOUS, of any length. */
  constructor(
    private readonly secretKey: string,
    private readonly previousKey: string | null = null,
  ) {
    this.current = new KeyRing(secretKey);
    if (previousKey !== null) this.add(new KeyRing(previousKey));
    this.add(this.current);
  }

  /** Returns 33 bytes more than the plain text has. Sealing the same text twice gives different bytes. */
  seal(label: string, plain: string | Buffer): Buffer {
    const nonce = randomBytes(NONCE_BYTES);
    const { header } = this.current;
    const cipher = createCipheriv('aes-256-gcm', this.current.sealingKey(label), nonce);
    cipher.setAAD(header);
    const body = typeof plain === 'string' ? cipher.update(plain, 'utf8') : cipher.update(plain);
    cipher.final();
    return Buffer.concat([header, nonce, body, cipher.getAuthTag()]);
  }

  /** The sealed text. Throws SecretBoxError. */
  open(label: string, sealed: Buffer): string {
    return this.openBytes(label, sealed).toString('utf8');
  }

  /** The sealed bytes. Throws SecretBoxError. */
  openBytes(label: string, sealed: Buffer): Buffer {
    const ring = this.ringOf(sealed);
    const bodyAt = HEADER_BYTES + NONCE_BYTES;
    const tagAt = sealed.length - TAG_BYTES;
    try {
      const decipher = createDecipheriv('aes-256-gcm', ring.sealingKey(label), sealed.subarray(HEADER_BYTES, bodyAt), {
        authTagLength: TAG_BYTES,
      });
      decipher.setAAD(ring.header);
      decipher.setAuthTag(sealed.subarray(tagAt));
      const plain = decipher.update(sealed.subarray(bodyAt, tagAt));
      decipher.final();
      return plain;
    } catch {
      throw new SecretBoxError('damaged');
    }
  }

  /** Whether the value is sealed with the previous key. Throws SecretBoxError on one that no key here could open. */
  needsRotation(sealed: Buffer): boolean {
    return this.ringOf(sealed) !== this.current;
  }

  /** A key of the current secret key for other algorithms (JWT, HMAC). Never one of the sealing keys. */
  deriveKey(label: string, bytes = 32): Buffer {
    return this.current.derive(`derive:${label}`, bytes);
  }

  /** For archives alone, which hold them encrypted, so that what is sealed opens on any machine. */
  exportKeys(): SecretKeys {
    return { secretKey: this.secretKey, previousKey: this.previousKey };
  }

  private add(ring: KeyRing): void {
    this.byId.set(ring.header.readUInt32BE(1), ring);
  }

  private ringOf(sealed: Buffer): KeyRing {
    if (sealed.length < OVERHEAD_BYTES || sealed[0] !== VERSION) throw new SecretBoxError('malformed');
    const ring = this.byId.get(sealed.readUInt32BE(1));
    if (ring === undefined) throw new SecretBoxError('unknown_key');
    return ring;
  }
}

/** One secret key, with what was derived from it. */
class KeyRing {
  /** Version and key id: the start of each value that this key seals. */
  readonly header: Buffer;
  private readonly sealingKeys = new Map<string, Buffer>();

  constructor(private readonly secretKey: string) {
    this.header = Buffer.concat([Buffer.from([VERSION]), this.derive('key-id', KEY_ID_BYTES)]);
  }

  sealingKey(label: string): Buffer {
    let key = this.sealingKeys.get(label);
    if (key === undefined) {
      key = this.derive(`seal:${label}`, 32);
      this.sealingKeys.set(label, key);
    }
    return key;
  }

  derive(info: string, bytes: number): Buffer {
    return Buffer.from(hkdfSync('sha256', this.secretKey, 'causeway', info, bytes));
  }
}
