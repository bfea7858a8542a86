// `npm test`: sets up, then runs test-run.mjs in namespaces of its own, so that no device, firewall rule, mount or
// process of a test reaches this host or outlives the run. Arguments go to vitest.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chooseMode, runInNamespaces } from './namespaces.mjs';
import { SetupError, ensureBuild, ensureDependencies, ensurePackages } from './setup.mjs';

const packages = [
  'iproute2',
  'nftables',
  'wireguard-tools',
  'wireguard-go',
  'iputils-ping',
  'pgbouncer',
  'redis-server',
  'v2ray',
];

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}

async function main(args) {
  await ensureDependencies();
  if (!process.env.TEST_DIST) await ensureBuild();
  const { missing, line, reason } = await ensurePackages(packages, { ask: true });
  const mode = chooseMode();
  if (missing.length > 0 && mode !== 'plain') {
    throw new SetupError(`The tests need ${missing.join(', ')} (${reason}). As root: ${line}`);
  }

  const folder = mkdtempSync(join(tmpdir(), 'causeway-test-'));
  try {
    const env = { CAUSEWAY_TEST_MODE: mode, CAUSEWAY_TEST_FOLDER: folder };
    return await runInNamespaces(mode, ['test-run.mjs', ...args], env);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
