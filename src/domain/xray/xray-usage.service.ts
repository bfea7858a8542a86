import { Injectable } from '@nestjs/common';
import { InjectDataSource } from '@nestjs/typeorm';
import { DataSource } from 'typeorm';

export interface DomainValue {
  domain: string;
  value: number;
}

export interface UserDays {
  uuid: string;
  email: string;
  alias: string;
  /** Its traffic changed by more than 20 % against the seven days before. */
  anomaly: boolean;
  /** One entry a day of `days`. */
  dailyTrafficBytes: number[];
  dailyConns: number[];
  /** The last seven days of the span, and the seven before them. */
  sum7TrafficBytes: number;
  sumPrev7TrafficBytes: number;
  sum7Conns: number;
  sumPrev7Conns: number;
}

/** The books of a span of days. Days without traffic are zeros; users who are gone count in the global part. */
export interface UsageDashboard {
  /** `YYYY-MM-DD`, UTC, oldest first. */
  days: string[];
  global: {
    dailyTrafficBytes: number[];
    /** Of the span before, day by day. */
    prevDailyTrafficBytes: number[];
    dailyConns: number[];
    prevDailyConns: number[];
    cumulativeTrafficBytes: number[];
    cumulativeConns: number[];
    /** Bytes are counted by user; here each user's are shared out among the domains of its connections: an estimate. */
    topDomainsTraffic: DomainValue[];
    topDomainsConns: DomainValue[];
  };
  users: UserDays[];
}

/** The usage of days, for dashboards. */
@Injectable()
export class XrayUsageService {
  constructor(@InjectDataSource() private readonly dataSource: DataSource) {}

  /**
   * The last `days` (1 to 366) up to today. With `email` the global part is of that user alone. Errors:
   * `xray_span_invalid`, `xray_user_not_found`.
   */
  async dashboard(days: number, email?: string): Promise<UsageDashboard> {
    throw new Error(`not there yet: ${String([this.dataSource, days, email])}`);
  }

  /** One day, `YYYY-MM-DD`. Errors: `xray_date_invalid`, `xray_user_not_found`. */
  async dashboardOf(date: string, email?: string): Promise<UsageDashboard> {
    throw new Error(`not there yet: ${String([this.dataSource, date, email])}`);
  }

  /** The days that have traffic or connections, oldest first. */
  async dates(): Promise<string[]> {
    throw new Error(`not there yet: ${String([this.dataSource])}`);
  }
}
