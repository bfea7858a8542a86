/** What runs a statement: an EntityManager inside a transaction, a DataSource, a QueryRunner. */
export interface SqlExecutor {
  query(sql: string, parameters?: unknown[]): Promise<unknown>;
}
