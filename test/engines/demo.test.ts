import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { runCommand } from '../support/command.js';
import { runFact } from '../support/run.js';

const program = fileURLToPath(new URL('../../scripts/demo.mjs', import.meta.url));

it('shows the main job in its demo', async () => {
  const dist = join(runFact('CAUSEWAY_TEST_PRODUCT'), 'dist');
  const { code, stdout, stderr } = await runCommand(['env', `TEST_DIST=${dist}`, process.execPath, program], {
    timeoutMs: 170_000,
  });
  expect(code, `${stdout}\n${stderr}`).toBe(0);
  expect(stdout).toContain('All of it is as it should be');
}, 180_000);
