// The text protocol of wireguard-go by hand: one connection that is kept, one exchange after the other.
import { connect } from 'node:net';

export class UapiConnection {
  constructor(device) {
    this.path = `/var/run/wireguard/${device}.sock`;
    this.socket = connect(this.path);
    this.socket.setEncoding('latin1');
    this.text = '';
    this.socket.on('data', (chunk) => {
      this.text += chunk;
      // An answer ends with its number and a blank line.
      if (!chunk.endsWith('\n\n')) return;
      const { text } = this;
      this.text = '';
      const errno = /(?:^|\n)errno=(-?\d+)\n\n$/.exec(text.slice(-20))?.[1];
      if (errno === '0') this.resolve(text);
      else this.reject(new Error(`The device answered ${errno}`));
    });
    this.socket.on('error', (error) => this.reject?.(error));
  }

  exchange(request) {
    return new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
      this.socket.write(request);
    });
  }

  get() {
    return this.exchange('get=1\n\n');
  }

  set(lines) {
    return this.exchange(`set=1\n${lines}\n`);
  }

  /** Public keys of all peers, hex. */
  async peers() {
    const text = await this.get();
    return new Set(text.match(/(?<=\npublic_key=)[0-9a-f]{64}/g));
  }

  close() {
    this.socket.destroy();
  }
}
