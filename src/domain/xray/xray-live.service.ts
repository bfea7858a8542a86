import { Injectable } from '@nestjs/common';
import { InjectDataSource } from '@nestjs/typeorm';
import { DataSource } from 'typeorm';

export type LiveMetric = 'traffic' | 'conns' | 'online_users';

export interface LiveUser {
  email: string;
  alias: string;
  /** Bytes a second over the last poll, in the user's directions. */
  upRate: number;
  downRate: number;
  /** Connections opened within the last minute. */
  conns: number;
  /** Addresses seen within the last minutes, newest first, at most 16. */
  ips: string[];
}

export interface LiveNow {
  /** Who is online, most traffic first. */
  users: LiveUser[];
  /** Of the whole engine over the last poll. */
  upRate: number;
  downRate: number;
  /** Connections opened, and bytes moved, within the last minute. */
  conns: number;
  trafficBytes: number;
  /** When it was measured; null: nobody measures at this moment. */
  measuredAt: Date | null;
}

/** One bucket: bytes or connections within it, or the most users of one of its minutes. */
export interface LivePoint {
  at: Date;
  value: number;
}

export interface LiveTop {
  email: string;
  alias: string;
  value: number;
  /** Of all users' together, 0 to 100. */
  sharePercent: number;
}

/** What goes on now, and went on within the last two days. */
@Injectable()
export class XrayLiveService {
  constructor(@InjectDataSource() private readonly dataSource: DataSource) {}

  async now(): Promise<LiveNow> {
    throw new Error(`not there yet: ${String([this.dataSource])}`);
  }

  /**
   * The last `periodSeconds` (60 to 172800) in buckets of `granularitySeconds` (60 to the period; rounded up to whole
   * minutes), oldest first, zeros where nothing was. The last bucket is the present one. `xray_span_invalid`.
   */
  async series(metric: LiveMetric, periodSeconds: number, granularitySeconds: number): Promise<LivePoint[]> {
    throw new Error(`not there yet: ${String([this.dataSource, metric, periodSeconds, granularitySeconds])}`);
  }

  /** The first `limit` (1 to 50) of the last `periodSeconds` (60 to 172800). `xray_span_invalid`. */
  async top(metric: 'traffic' | 'conns', periodSeconds: number, limit: number): Promise<LiveTop[]> {
    throw new Error(`not there yet: ${String([this.dataSource, metric, periodSeconds, limit])}`);
  }
}
