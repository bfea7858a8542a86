import pg from 'pg';

const CONNECT_LIMIT_MS = 5_000;
const CLOSE_LIMIT_MS = 2_000;

// The server drops a session whose host vanished after 25 s instead of hours, and with it the locks of that session.
const SESSION_SETTINGS =
  'SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3; ' +
  'SET idle_session_timeout = 0';

export interface Heartbeat {
  everyMs: number;
  limitMs: number;
}

/** One database session of its own, watched: `lost` resolves once, when it ended for whatever reason. */
export class SessionConnection {
  /** Resolves with the reason. Never rejects. */
  readonly lost: Promise<string>;
  private timer: NodeJS.Timeout | null = null;
  private settleLost!: (reason: string) => void;
  private ended = false;
  private turn: Promise<unknown> = Promise.resolve();
  private goodbye: Promise<void> = Promise.resolve();

  private constructor(private readonly client: pg.Client) {
    this.lost = new Promise((resolve) => {
      this.settleLost = resolve;
    });
    client.on('error', (error) => this.lose(error.message));
    client.on('end', () => this.lose('the connection ended'));
  }

  /** Connects within 5 s or rejects. */
  static async open(url: string, applicationName: string, heartbeat: Heartbeat): Promise<SessionConnection> {
    const client = new pg.Client({
      connectionString: url,
      application_name: applicationName,
      connectionTimeoutMillis: CONNECT_LIMIT_MS,
      keepAlive: true,
      keepAliveInitialDelayMillis: 5_000,
    });
    const connection = new SessionConnection(client);
    try {
      await client.connect();
      await connection.query(SESSION_SETTINGS, [], CONNECT_LIMIT_MS);
    } catch (error) {
      await connection.close();
      throw error;
    }
    connection.beat(heartbeat);
    return connection;
  }

  get alive(): boolean {
    return !this.ended;
  }

  onNotification(handler: (channel: string, payload: string) => void): void {
    this.client.on('notification', ({ channel, payload }) => handler(channel, payload ?? ''));
  }

  /** Runs one statement, after those asked for before. No answer in time counts as a lost connection. */
  query<Row extends pg.QueryResultRow>(sql: string, values: unknown[] = [], limitMs = 5_000): Promise<Row[]> {
    const answer = this.turn.then(() => this.run<Row>(sql, values, limitMs));
    this.turn = answer.catch(() => undefined);
    return answer;
  }

  private async run<Row extends pg.QueryResultRow>(sql: string, values: unknown[], limitMs: number): Promise<Row[]> {
    if (this.ended) throw new Error('The database session is over');
    const answer = values.length > 0 ? this.client.query<Row>(sql, values) : this.client.query<Row>(sql);
    let settled = false;
    const timer = setTimeout(() => {
      // After a pause of this process its timers run before the answers that came meanwhile: those go first.
      setImmediate(() =>
        setImmediate(() => {
          if (!settled) this.lose(`no answer within ${limitMs} ms`);
        }),
      );
    }, limitMs);
    try {
      return (await answer).rows;
    } finally {
      settled = true;
      clearTimeout(timer);
    }
  }

  /** Ends the session, and with it all its locks, within 2 s. */
  async close(): Promise<void> {
    this.lose('closed');
    const timer = setTimeout(() => this.client.connection.stream.destroy(), CLOSE_LIMIT_MS);
    await this.goodbye;
    clearTimeout(timer);
  }

  private lose(reason: string): void {
    if (this.ended) return;
    this.ended = true;
    if (this.timer) clearTimeout(this.timer);
    this.goodbye = this.client.end().catch(() => undefined);
    this.settleLost(reason);
  }

  private beat(heartbeat: Heartbeat): void {
    this.timer = setTimeout(() => void this.checkPulse(heartbeat), heartbeat.everyMs);
    this.timer.unref();
  }

  private async checkPulse(heartbeat: Heartbeat): Promise<void> {
    try {
      await this.query('SELECT 1', [], heartbeat.limitMs);
      if (!this.ended) this.beat(heartbeat);
    } catch (error) {
      this.lose((error as Error).message);
    }
  }
}
