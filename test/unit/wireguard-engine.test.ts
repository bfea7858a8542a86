import { QueryFailedError } from 'typeorm';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import type { EnginesService } from '../../src/domain/engines/engines.service.js';
import type { EventsService } from '../../src/domain/events/events.service.js';
import type { SettingsService } from '../../src/domain/settings/settings.service.js';
import { PacketRulesService } from '../../src/domain/tunnels/packet-rules.service.js';
import {
  type DeviceReading,
  type DeviceSpec,
  ForeignDeviceError,
  TunnelPort,
  TunnelUnavailableError,
} from '../../src/domain/tunnels/tunnel.port.js';
import type { TunnelRowsService, WantedClient, WantedDevice } from '../../src/domain/tunnels/tunnel-rows.service.js';
import { WireguardEngine } from '../../src/domain/tunnels/wireguard.engine.js';
import type { UsageService } from '../../src/domain/usage/usage.service.js';
import { loadConfig } from '../../src/platform/config/config.loader.js';
import { silentLog } from '../support/silent-log.js';
import { TestClock } from '../support/test-clock.js';

/** A host whose devices are names in a set, and which can be told to fail. */
class FakeHost extends TunnelPort {
  installed = true;
  readonly devices = new Map<string, string>();
  readFails: Error | null = null;
  firewall = vi.fn<(devices: unknown[]) => Promise<void>>(() => Promise.resolve());

  capability() {
    return Promise.resolve({ backend: this.installed ? ('kernel' as const) : null, message: 'here', hint: null });
  }

  ensureDevice = vi.fn<(spec: DeviceSpec) => Promise<void>>((spec) => {
    this.devices.set(spec.name, `key of ${spec.name}`);
    return Promise.resolve();
  });

  removeDevice(name: string): Promise<void> {
    if (this.readFails) return Promise.reject(this.readFails);
    this.devices.delete(name);
    return Promise.resolve();
  }

  readDevice(name: string): Promise<DeviceReading | null> {
    if (this.readFails) return Promise.reject(this.readFails);
    const publicKey = this.devices.get(name);
    return Promise.resolve(publicKey ? { name, publicKey, listenPort: 1, epoch: 1, peers: [] } : null);
  }

  changePeers = () => Promise.resolve();

  ensureFirewall(devices: unknown[]): Promise<void> {
    return this.firewall(devices);
  }
}

describe('the WireGuard engine', () => {
  const silence = new TunnelUnavailableError('it does not answer');
  let host: FakeHost;
  let clock: TestClock;
  let wanted: WantedDevice[];
  let clients: WantedClient[];
  let finished: string[];
  let engine: WireguardEngine;

  const device = (number: number, enabled = true): WantedDevice => ({
    interfaceId: number,
    name: `wg${number}`,
    publicKey: `key of wg${number}`,
    ranges: [`10.0.${number}.0/24`],
    enabled,
    restartedAt: new Date(0),
    spec: { name: `wg${number}`, privateKey: '', listenPort: 1, addresses: [], mtu: 1420 },
  });

  beforeEach(() => {
    host = new FakeHost();
    clock = new TestClock();
    wanted = [device(0)];
    clients = [];
    finished = [];
    const rows = {
      devices: (ids?: number[]) => Promise.resolve(wanted.filter((row) => ids?.includes(row.interfaceId) ?? true)),
      clients: () => Promise.resolve(clients),
      endDue: () => Promise.resolve([]),
      finishRemovals: (ids: string[]) => {
        finished.push(...ids);
        clients = clients.filter((client) => !ids.includes(client.clientId));
        return Promise.resolve();
      },
      retiredDevices: () => Promise.resolve([]),
      retireStrays: () => Promise.resolve(),
    };
    const usage = { book: () => Promise.resolve(0), forget: () => Promise.resolve() };
    const settings = { get: (key: string) => Promise.resolve(key === 'reset_time' ? 0 : true) };
    engine = new WireguardEngine(
      loadConfig({}),
      {} as EnginesService,
      host,
      rows as unknown as TunnelRowsService,
      new PacketRulesService(host, { getAll: () => Promise.resolve({}) } as unknown as SettingsService, silentLog()),
      usage as unknown as UsageService,
      settings as unknown as SettingsService,
      {} as EventsService,
      clock,
      silentLog(),
    );
  });

  it('takes a device away again and again until it is gone, and frees no address before', async () => {
    await engine.takeOver();
    const peer = { publicKey: 'k', presharedKey: '', allowedIps: [] };
    clients = [{ ...peer, clientId: 'alice', interfaceId: 0, active: false, removed: true }];
    wanted = [device(0, false)];
    host.readFails = silence;
    const failures = await engine.apply(['interface:0']);
    expect(failures.get('interface:0')).toMatchObject({ code: 'engine_unavailable', message: 'it does not answer' });
    await engine.poll();
    expect(finished).toEqual([]);
    expect(engine.health().message).toContain('wg0: it does not answer');
    host.readFails = null;
    await engine.poll();
    expect([...host.devices]).toEqual([]);
    expect(finished).toEqual(['alice']);
    expect(engine.health().message).toBe('0 devices up (kernel)');
  });

  it('takes away a device that was disabled while nobody told it', async () => {
    await engine.takeOver();
    wanted = [device(0, false)];
    clock.advance(61_000);
    await engine.poll();
    expect([...host.devices]).toEqual([]);
  });

  it('takes away, and does not make again, a device whose row is gone', async () => {
    wanted = [device(0), device(1)];
    await engine.takeOver();
    wanted = [device(0)];
    host.readFails = silence;
    await engine.apply(['interface:1']);
    host.readFails = null;
    host.ensureDevice.mockClear();
    await engine.poll();
    expect([...host.devices.keys()]).toEqual(['wg0']);
    expect(host.ensureDevice.mock.calls.map(([spec]) => spec.name)).not.toContain('wg1');
    wanted = [];
    clock.advance(61_000);
    await engine.poll();
    expect([...host.devices.keys()]).toEqual([]);
  });

  it('lets an interface go whose name another device has', async () => {
    await engine.takeOver();
    wanted = [device(0, false)];
    host.readFails = new ForeignDeviceError('wg0');
    expect(await engine.apply(['interface:0'])).toEqual(new Map());
  });

  it('sets packet rules for devices that come up late, mends them each minute, and tries again what failed', async () => {
    host.installed = false;
    await engine.takeOver();
    host.installed = true;
    await engine.poll();
    expect(host.firewall).toHaveBeenCalledTimes(1);
    await engine.poll();
    expect(host.firewall).toHaveBeenCalledTimes(1);
    host.firewall.mockRejectedValueOnce(new TunnelUnavailableError('nft is busy'));
    clock.advance(61_000);
    await engine.poll();
    expect(engine.health().message).toBe('firewall: nft is busy');
    await engine.poll();
    expect(host.firewall).toHaveBeenCalledTimes(3);
    expect(engine.health().message).toBe('1 device up (kernel)');
  });

  it('says when packet rules or a device did not follow a setting', async () => {
    await engine.takeOver();
    host.firewall.mockRejectedValueOnce(new TunnelUnavailableError('nft is busy'));
    expect((await engine.apply(['firewall'])).get('firewall')).toMatchObject({ message: 'firewall: nft is busy' });
    host.ensureDevice.mockRejectedValue(silence);
    expect((await engine.apply(['devices'])).get('devices')).toMatchObject({ message: 'it does not answer' });
    expect(await engine.apply(['devices']), 'broken before').toEqual(new Map());
  });

  it('calls a sync done only when the device shows that it is', async () => {
    await engine.takeOver();
    await expect(engine.command('sync')).resolves.toBeNull();
    const peer = { publicKey: 'k', presharedKey: '', allowedIps: ['10.0.0.2/32'] };
    clients = [{ ...peer, clientId: 'alice', interfaceId: 0, active: true, removed: false }];
    await expect(engine.command('sync')).rejects.toMatchObject({ code: 'engine_unavailable' });
  });

  it('tells callers nothing of failures that nobody expected', async () => {
    await engine.takeOver();
    host.ensureDevice.mockRejectedValue(new QueryFailedError('SELECT secret', [], new Error('no column secret')));
    const failure = (await engine.apply(['interface:0'])).get('interface:0');
    expect(failure?.message).toContain('unexpected');
    expect(engine.health().message).not.toContain('secret');
  });
});
