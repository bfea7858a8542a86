import { Injectable } from '@nestjs/common';
import type { Dialect } from './dialect.js';

/** Who speaks which path. Dialect modules register themselves; http imports none of them. */
@Injectable()
export class DialectRegistry {
  private readonly byName = new Map<string, Dialect>();
  /** Longest prefix first. */
  private owners: { prefix: string; dialect: Dialect }[] = [];

  /** Throws when a name or a prefix is taken: two dialects must never claim one route. */
  register(dialect: Dialect): void {
    if (this.byName.has(dialect.name)) throw new Error(`Dialect ${dialect.name} is registered twice`);
    for (const prefix of dialect.prefixes) {
      const owner = this.owners.find((entry) => entry.prefix === prefix);
      if (owner) throw new Error(`${dialect.name} and ${owner.dialect.name} both claim "${prefix}"`);
    }
    this.byName.set(dialect.name, dialect);
    this.owners = [...this.owners, ...dialect.prefixes.map((prefix) => ({ prefix, dialect }))].sort(
      (a, b) => b.prefix.length - a.prefix.length,
    );
  }

  /** The dialect whose prefix the path of this URL has (a query is ignored). */
  forUrl(url: string): Dialect {
    const path = pathOf(url);
    for (const { prefix, dialect } of this.owners) {
      if (prefix === '' || path === prefix || path.startsWith(`${prefix}/`)) return dialect;
    }
    throw new Error('No dialect is registered for everything else');
  }

  names(): string[] {
    return [...this.byName.keys()];
  }
}

/** The path of a request target; absolute form (`GET http://host/path`) included. */
export function pathOf(url: string): string {
  const path = url.startsWith('/') ? url : url.replace(/^[a-z]+:\/\/[^/?#]*/i, '');
  const end = path.search(/[?#]/);
  return end === -1 ? path : path.slice(0, end);
}
