const common: Readonly<Record<string, string>> = {
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'x-permitted-cross-domain-policies': 'none',
};

// An answer of the API is data: a browser that shows it as a page may load and run nothing.
const api = { ...common, 'content-security-policy': "default-src 'none'; frame-ancestors 'none'" };

// Swagger UI brings its own scripts and has inline styles.
const docs = {
  ...common,
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; " +
    "font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
};

/** Headers of every answer. No HSTS: whoever terminates TLS decides for the whole host name. */
export function securityHeaders(path: string): Readonly<Record<string, string>> {
  return path === '/docs' || path.startsWith('/docs/') ? docs : api;
}
