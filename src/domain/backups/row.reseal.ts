import { bytesField, fieldBytes, rowFields } from '../../platform/copy/copy-text.js';
import { SecretBox, SecretBoxError, type SecretKeys } from '../../platform/crypto/secret-box.js';

/**
 * Makes rows of an archive fit a database: fields of columns that are no more are left out, and what was sealed with
 * another secret key is sealed with the one of here. A value that was broken when the archive was made stays as it is.
 */
export class RowReseal {
  private readonly theirs: SecretBox;
  private readonly kept: readonly number[];
  private readonly sealed: readonly { at: number; label: string }[];
  private readonly whole: boolean;

  /**
   * @param columns of the archive's rows.
   * @param here columns of the table now.
   * @param labels of sealed columns.
   */
  constructor(
    private readonly ours: SecretBox,
    keys: SecretKeys,
    private readonly columns: readonly string[],
    here: readonly string[],
    labels: Readonly<Record<string, string>>,
  ) {
    this.theirs = new SecretBox(keys.secretKey, keys.previousKey);
    const present = new Set(here);
    this.kept = columns.map((_, at) => at).filter((at) => present.has(columns[at]!));
    this.whole = this.kept.length === columns.length;
    this.sealed = Object.entries(labels)
      .map(([column, label]) => ({ at: columns.indexOf(column), label }))
      .filter(({ at }) => at >= 0 && present.has(columns[at]!));
  }

  /** The columns of what `convert` gives. */
  get keptColumns(): string[] {
    return this.kept.map((at) => this.columns[at]!);
  }

  /** One row, without its line end. */
  convert(line: Buffer): Buffer {
    if (this.whole && this.sealed.length === 0) return line;
    const fields = rowFields(line);
    let changed = !this.whole;
    for (const { at, label } of this.sealed) {
      const value = fieldBytes(fields[at] ?? '\\N');
      const fresh = value && this.reseal(label, value);
      if (!fresh) continue;
      fields[at] = bytesField(fresh);
      changed = true;
    }
    return changed ? Buffer.from(this.kept.map((at) => fields[at]).join('\t')) : line;
  }

  /** Null: it is sealed with our present key, or does not open. */
  private reseal(label: string, sealed: Buffer): Buffer | null {
    try {
      if (!this.ours.needsRotation(sealed)) return null;
    } catch (error) {
      if (!(error instanceof SecretBoxError)) throw error;
    }
    try {
      return this.ours.seal(label, this.theirs.openBytes(label, sealed));
    } catch (error) {
      if (error instanceof SecretBoxError) return null;
      throw error;
    }
  }
}
