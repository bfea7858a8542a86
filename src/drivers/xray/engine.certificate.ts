import { X509Certificate, createPrivateKey } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { type ProxyCertificate, ProxyRefusedError } from '../../domain/xray/proxy-engine.port.js';

/**
 * Throws ProxyRefusedError unless certificate and key can be read and belong together. Engines take anything here, and
 * then fail every client.
 */
export async function assertCertificate(certificate: ProxyCertificate): Promise<void> {
  const [chain, key] =
    'certificateFile' in certificate
      ? [await readPem(certificate.certificateFile), await readPem(certificate.keyFile)]
      : [certificate.certificatePem, certificate.keyPem];
  let fits: boolean;
  try {
    fits = new X509Certificate(chain).checkPrivateKey(createPrivateKey(key));
  } catch {
    throw new ProxyRefusedError('The certificate or its key is damaged or no PEM');
  }
  if (!fits) throw new ProxyRefusedError('The certificate and the key do not belong together');
}

async function readPem(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw new ProxyRefusedError(`${path} cannot be read: ${(error as NodeJS.ErrnoException).code}`);
  }
}
