import { DefaultNamingStrategy, type NamingStrategyInterface, type Table } from 'typeorm';

/** Snake case, and constraint names as PostgreSQL would choose them: what a migration writes by hand is what TypeORM expects. */
export class SnakeNamingStrategy extends DefaultNamingStrategy implements NamingStrategyInterface {
  override tableName(className: string, customName: string | undefined): string {
    return customName ?? snakeCase(className);
  }

  override columnName(propertyName: string, customName: string | undefined, embeddedPrefixes: string[]): string {
    return [...embeddedPrefixes.map(snakeCase), customName ?? snakeCase(propertyName)].join('_');
  }

  override joinColumnName(relationName: string, referencedColumnName: string): string {
    return `${snakeCase(relationName)}_${snakeCase(referencedColumnName)}`;
  }

  override joinTableColumnName(tableName: string, propertyName: string, columnName?: string): string {
    return `${snakeCase(tableName)}_${columnName ?? snakeCase(propertyName)}`;
  }

  override primaryKeyName(table: Table | string): string {
    return this.named(table, [], 'pkey');
  }

  override uniqueConstraintName(table: Table | string, columns: string[]): string {
    return this.named(table, columns, 'key');
  }

  override relationConstraintName(table: Table | string, columns: string[]): string {
    return this.named(table, columns, 'key');
  }

  override foreignKeyName(table: Table | string, columns: string[]): string {
    return this.named(table, columns, 'fkey');
  }

  override indexName(table: Table | string, columns: string[]): string {
    return this.named(table, columns, 'idx');
  }

  private named(table: Table | string, columns: string[], suffix: string): string {
    // PostgreSQL cuts names at 63 bytes, and a name cut there would never compare equal to the one asked for.
    return [this.getTableName(table), ...columns, suffix].join('_').slice(0, 63);
  }
}

function snakeCase(name: string): string {
  return name
    .replaceAll(/([A-Z]+)([A-Z][a-z])/g, '$1_$2')
    .replaceAll(/([a-z0-9])([A-Z])/g, '$1_$2')
    .toLowerCase();
}
