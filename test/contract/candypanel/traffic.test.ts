import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connectClient, type WireguardClient } from '../../support/client-namespace.js';
import { eventually } from '../../support/wait.js';
import { Panel } from './panel.js';

const megabyte = 1024 * 1024;
/** Handshakes, keepalives and echoes that may pass between two looks. */
const chatter = 64 * 1024;

describe('a client that connects', () => {
  let panel: Panel;
  let config: string;
  let device: WireguardClient;

  beforeAll(async () => {
    panel = await Panel.start();
    config = await panel.create('phone');
    device = await connectClient(panel.server, config);
  });

  afterAll(async () => {
    await device?.close();
    await panel?.server.cleanup();
  });

  const sync = async () => expect((await panel.call('POST', '/sync')).status).toBe(200);
  const used = async () => {
    await sync();
    const { download, upload } = (await panel.client('phone')).used_trafic;
    return download + upload;
  };

  /** What the device itself has counted since it was made. */
  const counters = async () => {
    const output = await panel.server.space!.must(['wg', 'show', 'wg0', 'transfer']);
    const [, received = '', sent = ''] = output.trim().split('\t');
    return { received: Number(received), sent: Number(sent) };
  };

  it('reaches the server and the world with the config as it was given', async () => {
    await eventually(() => device.ping('10.0.0.1'));
    expect(await device.download(megabyte)).toMatchObject({ bytes: megabyte, complete: true });
  });

  it('is shown as connected, with what it downloaded and uploaded', async () => {
    expect(await device.download(4 * megabyte)).toMatchObject({ complete: true });
    expect(await device.upload(megabyte)).toMatchObject({ complete: true });
    await sync();
    const { used_trafic: after, connected_now } = await panel.client('phone');
    expect(connected_now).toBe(true);
    expect(after.download).toBeGreaterThan(5 * megabyte);
    expect(after.upload).toBeGreaterThan(megabyte);
    const counted = await counters();
    expect(counted.sent - after.download).toBeLessThan(chatter);
    expect(counted.received - after.upload).toBeLessThan(chatter);
    expect(counted.sent).toBeGreaterThanOrEqual(after.download);
    expect(counted.received).toBeGreaterThanOrEqual(after.upload);

    const dashboard = await panel.call<{ bandwidth: string }>('GET', '/dashboard');
    expect(Number(dashboard.body.bandwidth)).toBeGreaterThanOrEqual(after.download + after.upload);
    const settings = await panel.call<Record<string, string>>('GET', '/settings');
    expect(settings.body['bandwidth']).toBe(dashboard.body.bandwidth);
  });

  it('keeps its session and its books while the server restarts', async () => {
    const before = await used();
    await panel.server.restart();
    expect(await device.ping('10.0.0.1')).toBe(true);
    const after = await used();
    expect(after).toBeGreaterThanOrEqual(before);
    expect(after).toBeLessThan(before + chatter);
  });

  it('loses and doubles no byte when its interface goes down and comes back', async () => {
    const before = await used();
    await panel.call('PUT', '/interfaces/wg0', { status: false });
    expect(await device.ping('10.0.0.1')).toBe(false);
    await panel.call('PUT', '/interfaces/wg0', { status: true });
    await eventually(() => device.ping('10.0.0.1'), { timeoutMs: 40_000 });
    const between = await used();
    expect(between).toBeGreaterThanOrEqual(before);
    expect(between).toBeLessThan(before + chatter);
    expect(await device.download(megabyte)).toMatchObject({ complete: true });
    const after = await used();
    expect(after).toBeGreaterThan(between + megabyte);
    const { received, sent } = await counters();
    expect(Math.abs(before + received + sent - after)).toBeLessThan(chatter);
  });

  it('is cut off at its quota, and let on again by a higher one with the same config', async () => {
    const limit = (await used()) + 2 * megabyte;
    await panel.call('PUT', '/clients/phone', { traffic: limit });
    expect((await panel.client('phone')).status).toBe(true);
    await device.download(3 * megabyte);
    await sync();
    const cut = await panel.client('phone');
    expect(cut).toMatchObject({ status: false, connected_now: false, traffic: String(limit) });
    expect(await panel.isOn('phone')).toBe(false);
    expect(await device.ping('10.0.0.1')).toBe(false);
    expect(await device.download(megabyte, { timeoutMs: 1_500 })).toMatchObject({ bytes: 0, complete: false });

    await panel.call('PUT', '/clients/phone', { status: true });
    await sync();
    expect(await panel.isOn('phone')).toBe(false);

    await panel.call('PUT', '/clients/phone', { traffic: String(limit + 100 * megabyte) });
    expect((await panel.client('phone')).status).toBe(true);
    await eventually(() => device.ping('10.0.0.1'), { timeoutMs: 40_000 });
    expect(await device.download(megabyte)).toMatchObject({ complete: true });
    expect(await used()).toBeGreaterThan(cut.used_trafic.download + cut.used_trafic.upload);
    const again = await panel.call<{ data: { config: string } }>('GET', '/clients/phone/config');
    expect(again.body.data.config).toBe(config);
  });

  it('is cut off at once when switched off or deleted', async () => {
    await panel.call('PUT', '/clients/phone', { status: false });
    expect(await device.ping('10.0.0.1')).toBe(false);
    await panel.call('PUT', '/clients/phone', { status: true });
    await eventually(() => device.ping('10.0.0.1'), { timeoutMs: 40_000 });
    expect((await panel.call('DELETE', '/clients/phone')).status).toBe(200);
    expect(await device.ping('10.0.0.1')).toBe(false);
  });
});
