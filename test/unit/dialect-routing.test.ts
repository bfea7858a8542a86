import { beforeAll, describe, expect, it } from 'vitest';
import { candypanel } from '../../src/dialects/candypanel/candypanel.errors.js';
import { ccpanel } from '../../src/dialects/ccpanel/ccpanel.errors.js';
import { v2rayAccounts } from '../../src/dialects/v2ray-accounts/v2ray-accounts.errors.js';
import { wgEasy } from '../../src/dialects/wg-easy/wg-easy.errors.js';
import { xrayDashboard } from '../../src/dialects/xray-dashboard/xray-dashboard.errors.js';
import { AllowedMethods } from '../../src/http/allowed-methods.js';
import { maskedUrl } from '../../src/http/access-log.js';
import { DialectRegistry, pathOf } from '../../src/http/dialect.registry.js';
import { routerOptions } from '../../src/http/fastify-options.js';

describe('which dialect owns a path', () => {
  const registry = new DialectRegistry();

  beforeAll(() => {
    // In an order that would be wrong if order mattered.
    for (const dialect of [candypanel, xrayDashboard, v2rayAccounts, ccpanel, wgEasy]) registry.register(dialect);
  });

  it.each([
    ['/clients', 'candypanel'],
    ['/', 'candypanel'],
    ['/apis', 'candypanel'],
    ['/api/session', 'wg-easy'],
    ['/api/session/', 'wg-easy'],
    ['/api/sessions', 'xray-dashboard'],
    ['/api/wireguard/client/1?x=/api/v1', 'wg-easy'],
    ['/api/v1/users/me/', 'v2ray-accounts'],
    ['/api/v1', 'v2ray-accounts'],
    ['/api/v1/auth/token/', 'v2ray-accounts'],
    ['/api/v1/auth/login', 'ccpanel'],
    ['/api/v1/nodes', 'ccpanel'],
    ['/api/v1/instances/1/start', 'ccpanel'],
    ['/ws/v1/monitor', 'ccpanel'],
    ['/api/v10', 'xray-dashboard'],
    ['/api/v2/users', 'xray-dashboard'],
    ['/api', 'xray-dashboard'],
    ['http://host/api/session', 'wg-easy'],
  ])('%s is of %s', (url, name) => {
    expect(registry.forUrl(url).name).toBe(name);
  });

  it('refuses a name or a prefix that is taken', () => {
    expect(() => registry.register(wgEasy)).toThrow('registered twice');
    expect(() => registry.register({ ...wgEasy, name: 'other' })).toThrow('both claim');
  });

  it('takes the path out of any form of request target', () => {
    expect(pathOf('/a/b?c#d')).toBe('/a/b');
    expect(pathOf('http://host:1/a?b')).toBe('/a');
  });
});

describe('which methods a path has', () => {
  const methods = new AllowedMethods(routerOptions);
  methods.add(['GET', 'HEAD'], '/clients');
  methods.add('POST', '/clients');
  methods.add('GET', '/clients/:name');
  methods.add('PUT', '/clients/:client_name');

  it('knows them for exact paths, with parameters and with a trailing slash', () => {
    expect(methods.of('/clients')).toEqual(['GET', 'HEAD', 'POST']);
    expect(methods.of('/clients/')).toEqual(['GET', 'HEAD', 'POST']);
    expect(methods.of('/clients/alice')).toEqual(['GET', 'PUT']);
    expect(methods.of('/nothing')).toEqual([]);
  });
});

describe('a path in the log', () => {
  it('shows no secret of the query', () => {
    expect(maskedUrl('/ws/v1/monitor?token=abc&days=7')).toBe('/ws/v1/monitor?token=***&days=7');
    expect(maskedUrl('/x?a=1&api_key=abc#y')).toBe('/x?a=1&api_key=***#y');
    expect(maskedUrl('/clients/token=abc')).toBe('/clients/token=abc');
    expect(maskedUrl(`/${'a'.repeat(900)}`).length).toBeLessThan(510);
  });
});
