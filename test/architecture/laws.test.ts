import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runCommand } from '../support/command.js';

const root = fileURLToPath(new URL('../..', import.meta.url));

interface Violation {
  rule: { name: string };
  from: string;
  to: string;
}

/** What the checker says about src/ of this folder, as `law: from -> to`. */
async function violations(folder: string): Promise<string[]> {
  const program = join(root, 'node_modules/dependency-cruiser/bin/dependency-cruise.mjs');
  const argv = [
    process.execPath,
    program,
    '--config',
    join(root, '.dependency-cruiser.cjs'),
    '--output-type',
    'json',
    'src',
  ];
  const { stdout, stderr } = await runCommand(argv, { cwd: folder, timeoutMs: 50_000 });
  if (stdout === '') throw new Error(stderr);
  const report = JSON.parse(stdout) as { summary: { totalCruised: number; violations: Violation[] } };
  if (report.summary.totalCruised === 0) throw new Error('The checker read nothing');
  return report.summary.violations.map(
    ({ rule, from, to }) => `${rule.name}: ${from} -> ${to.replace(/.*\/node_modules\//, 'node_modules/')}`,
  );
}

describe('the laws of the house', () => {
  it('hold', async () => {
    expect(await violations(root)).toEqual([]);
  });
});

describe('the checker of the laws', () => {
  let folder: string;
  let found: string[];

  // Each file imports what its law forbids; a line of the second list is what must not be reported.
  const files: Record<string, string[]> = {
    'src/app.module.ts': ['./drivers/drivers.module.js'],
    'src/main.ts': ['./app.module.js'],
    'src/dialects/alpha/alpha.controller.ts': [
      '../beta/beta.dto.js',
      '../../drivers/wireguard/wireguard.driver.js',
      '../../database/data-source.js',
      '../../domain/users/user.entity.js',
      'typeorm',
      '../../domain/users/users.service.js',
      '../../http/errors.js',
    ],
    'src/dialects/alpha/alpha.mapper.ts': ['type ../../domain/users/user.entity.js'],
    'src/dialects/beta/beta.dto.ts': [],
    'src/http/errors.ts': [
      '../domain/domain-error.js',
      '../domain/auth/auth.service.js',
      '../domain/clients/clients.service.js',
    ],
    'src/domain/domain-error.ts': [],
    'src/domain/auth/auth.service.ts': ['../users/users.service.js'],
    'src/domain/users/users.service.ts': [
      '../clients/clients.service.js',
      '../../http/limits.js',
      '../../drivers/wireguard/wireguard.driver.js',
      '../../platform/clock.js',
      './user.entity.js',
    ],
    'src/domain/users/user.entity.ts': ['type ./token.entity.js'],
    'src/domain/users/token.entity.ts': ['./user.entity.js'],
    'src/domain/clients/clients.service.ts': ['./client.rules.js'],
    'src/domain/clients/client.rules.ts': ['./clients.service.js'],
    'src/domain/tunnels/tunnel.port.ts': [],
    'src/domain/gadgets/gadgets.service.ts': ['../../platform/clock.js'],
    'src/drivers/drivers.module.ts': ['./wireguard/wireguard.driver.js'],
    'src/drivers/wireguard/wireguard.driver.ts': [
      '../../domain/tunnels/tunnel.port.js',
      '../../domain/clients/clients.service.js',
      'vitest',
      'not-installed',
    ],
    'src/http/limits.ts': [],
    'src/database/data-source.ts': ['../domain/users/user.entity.js', '../domain/users/users.service.js'],
    'src/platform/clock.ts': ['../domain/domain-error.js'],
    'src/cli/main.ts': ['../app.module.js', '../http/limits.js'],
    'src/cli/backup.ts': ['../domain/clients/clients.service.js', '../http/limits.js'],
    'src/platform/one/a.ts': ['../two/b.js'],
    'src/platform/one/c.ts': [],
    'src/platform/two/b.ts': ['../one/c.js'],
  };

  const wanted = [
    'dialects-apart: src/dialects/alpha/alpha.controller.ts -> src/dialects/beta/beta.dto.ts',
    'dialects-speak: src/dialects/alpha/alpha.controller.ts -> src/drivers/wireguard/wireguard.driver.ts',
    'dialects-speak: src/dialects/alpha/alpha.controller.ts -> src/database/data-source.ts',
    'dialects-without-orm: src/dialects/alpha/alpha.controller.ts -> src/domain/users/user.entity.ts',
    'dialects-without-orm: src/dialects/alpha/alpha.controller.ts -> node_modules/typeorm/index.d.ts',
    'http-is-shared: src/http/errors.ts -> src/domain/clients/clients.service.ts',
    'domain-order-users: src/domain/users/users.service.ts -> src/domain/clients/clients.service.ts',
    'domain-knows-itself: src/domain/users/users.service.ts -> src/http/limits.ts',
    'domain-knows-itself: src/domain/users/users.service.ts -> src/drivers/wireguard/wireguard.driver.ts',
    'domain-order-complete: src/domain/gadgets/gadgets.service.ts -> src/platform/clock.ts',
    'no-cycles: src/domain/clients/client.rules.ts -> src/domain/clients/clients.service.ts',
    'no-folder-cycles: src/platform/one -> src/platform/two',
    'drivers-implement-ports: src/drivers/wireguard/wireguard.driver.ts -> src/domain/clients/clients.service.ts',
    'declared-packages-only: src/drivers/wireguard/wireguard.driver.ts -> node_modules/vitest/dist/index.d.ts',
    'everything-is-found: src/drivers/wireguard/wireguard.driver.ts -> not-installed',
    'database-knows-entities: src/database/data-source.ts -> src/domain/users/users.service.ts',
    'platform-knows-nothing: src/platform/clock.ts -> src/domain/domain-error.ts',
    'cli-uses-the-domain: src/cli/backup.ts -> src/http/limits.ts',
  ];

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'laws-'));
    for (const name of ['package.json', 'tsconfig.json', 'node_modules'])
      await symlink(join(root, name), join(folder, name));
    for (const [path, imports] of Object.entries(files)) {
      const lines = imports.map((target, index) => {
        const typeOnly = target.startsWith('type ');
        return `import ${typeOnly ? 'type ' : ''}* as it${index} from '${typeOnly ? target.slice(5) : target}';\n`;
      });
      const uses = imports.map((target, index) => (target.startsWith('type ') ? '' : `void it${index};\n`));
      await mkdir(join(folder, dirname(path)), { recursive: true });
      await writeFile(join(folder, path), `${lines.join('')}${uses.join('')}export const here = 1;\n`);
    }
    found = await violations(folder);
  });

  afterAll(async () => {
    await rm(folder, { recursive: true, force: true });
  });

  it.each(wanted)('reports %s', (line) => {
    expect(found).toContain(line);
  });

  it('reports a cycle of files and of folders from either side, and nothing else', () => {
    const others = found.filter((line) => !wanted.includes(line) && !/^no-(folder-)?cycles: /.test(line));
    expect(others).toEqual([]);
    const cycles = found.filter((line) => line.startsWith('no-cycles: '));
    expect(cycles.some((line) => line.includes('.entity.ts'))).toBe(false);
  });
});
