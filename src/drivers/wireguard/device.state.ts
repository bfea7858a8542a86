import { join } from 'node:path';
import { networkNamespaceOf } from '../host/process.identity.js';
import { readState, removeState, writeState } from '../host/state.file.js';

/** What proves later that a device was made by this installation. Kept as `DATA_DIR/wireguard/<device>.json`. */
export interface DeviceRecord {
  backend: 'kernel' | 'wireguard-go';
  /** Boot and network namespace in which the device was made; in any other one the record proves nothing. */
  bootId: string;
  networkNamespace: string;
  /** wireguard-go: in its environment, so that one is found whose pid was never written down. */
  token?: string;
  pid?: number;
  startTime?: number;
  /** kernel: absent between the intent and the making. */
  linkIndex?: number;
}

/** The records and logs of devices. Device names are checked before they come here: they become file names. */
export class DeviceRecords {
  readonly folder: string;

  constructor(dataDir: string) {
    this.folder = join(dataDir, 'wireguard');
  }

  /** Null when there is none that counts here and now. */
  async read(name: string, bootId: string): Promise<Partial<DeviceRecord> | null> {
    const record = await readState<DeviceRecord>(this.path(name));
    if (record === null || record.bootId !== bootId) return null;
    return record.networkNamespace === (await networkNamespaceOf()) ? record : null;
  }

  async write(name: string, record: Omit<DeviceRecord, 'networkNamespace'>): Promise<void> {
    await writeState(this.path(name), { ...record, networkNamespace: await networkNamespaceOf() });
  }

  async remove(name: string): Promise<void> {
    await removeState(this.path(name));
    await removeState(this.logPath(name));
  }

  logPath(name: string): string {
    return join(this.folder, `${name}.log`);
  }

  private path(name: string): string {
    return join(this.folder, `${name}.json`);
  }
}
