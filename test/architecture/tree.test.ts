import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));

interface SourceFile {
  /** From the root of the checkout. */
  path: string;
  text: string;
}

function sources(): SourceFile[] {
  return ['src', 'test', 'scripts', 'bench', 'deploy', '.ci'].flatMap((folder) => filesBelow(folder));
}

function filesBelow(folder: string): SourceFile[] {
  const entries = readdirOrNone(join(root, folder));
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .map((path) => ({ path: path.slice(root.length), text: readFileSync(path, 'utf8') }));
}

function readdirOrNone(folder: string) {
  try {
    return readdirSync(folder, { recursive: true, withFileTypes: true });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

const isCode = (path: string): boolean => /\.(ts|mjs|cjs|js)$/.test(path);

/** What is wrong with one file, a sentence each. The rules of the tree, and each with what to do instead. */
function faults({ path, text }: SourceFile): string[] {
  const name = path.split('/').at(-1) ?? '';
  const found: string[] = [];
  if (isCode(path)) {
    if (/^index\.[a-z]+$/.test(name)) found.push('is a barrel: import from the file itself');
    if (/(^|[.-])(utils?|helpers?|common|managers?|base|misc)([.-]|$)/.test(name)) {
      found.push('is named after nothing: name it after what it holds');
    }
    if (path.startsWith('src/') && /\/(utils?|helpers?|common|managers?|base|misc|shared)\//.test(path)) {
      found.push('is in a folder named after nothing');
    }
    const wellNamed = /^[a-z0-9]+(-[a-z0-9]+)*(\.[a-z0-9]+(-[a-z0-9]+)*)*\.(ts|mjs|cjs)$/;
    if (!wellNamed.test(name)) found.push('is not named <noun>.<role>.ts in kebab-case');
    const lines = text.split('\n').length;
    if (lines > longest) found.push(`has ${lines} lines, ${longest} at most: split it by what it does`);
    const head = /^(\/\/.*\n|\/\*\*?[\s\S]*?\*\/\n(?=\n))+/.exec(text)?.[0].trim().split('\n').length ?? 0;
    if (head > 3) found.push(`has a head of ${head} lines, 3 at most`);
  }
  if (path.startsWith('test/') && new RegExp(`\\b(it|test|describe|suite)\\.(${banned.join('|')})\\b`).test(text)) {
    found.push('leaves tests out: make them pass or take them away');
  }
  const trace = new RegExp(machineTraces.join('|')).exec(text)?.[0];
  if (trace !== undefined) found.push(`names a place of one machine, ${trace}`);
  return found.map((fault) => `${path} ${fault}`);
}

const longest = 600;
const banned = ['skip', 'only', 'todo', 'fails', 'skipIf', 'runIf'];
// Written so that this file does not match itself.
const machineTraces = ['/wor[k]/', '/far[m]/', '/hom[e]/[a-z]+/', '/User[s]/', '/roo[t]/[a-z.]', '/tm[p]/[A-Za-z]'];

// Put together here, so that this file does not break its own rules.
const leavingOut = (what: string, how: string): string => `${what}.${how}('x')`;

describe('the tree', () => {
  it('keeps its rules', () => {
    const files = sources();
    expect(files.length).toBeGreaterThan(20);
    expect(files.flatMap(faults)).toEqual([]);
  });

  it.each([
    ['src/domain/users/index.ts', '', 'is a barrel'],
    ['src/platform/string-utils.ts', '', 'is named after nothing'],
    ['src/domain/clients/base.service.ts', '', 'is named after nothing'],
    ['src/common/money.ts', '', 'is in a folder named after nothing'],
    ['src/domain/users/UserService.ts', '', 'is not named'],
    ['src/domain/users/users.service.ts', '\n'.repeat(700), 'has 701 lines'],
    ['src/domain/users/users.service.ts', '// a\n'.repeat(4), 'has a head of 4 lines'],
    ['test/unit/a.test.ts', leavingOut('it', 'skip'), 'leaves tests out'],
    ['test/unit/a.test.ts', leavingOut('describe', 'only'), 'leaves tests out'],
    ['scripts/a.mjs', ['', 'work', 'here'].join('/'), 'names a place of one machine'],
  ])('finds fault with %s', (path, text, fault) => {
    expect(faults({ path, text }).join('\n')).toContain(`${path} ${fault}`);
  });

  it('finds none with a file as it should be', () => {
    expect(faults({ path: 'src/domain/clients/client-addresses.service.ts', text: 'export const a = 1;\n' })).toEqual(
      [],
    );
  });
});
