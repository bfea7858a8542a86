// `npm run bench`: sets up what is missing, then runs bench/run.mjs in namespaces of its own. Its database is on the
// disk of the folder for temporary files, where fsync costs what it costs. TEST_DIST takes another build than dist/.
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chooseMode, runInNamespaces } from './namespaces.mjs';
import { SetupError, ensureBuild, ensureDependencies, ensurePackages } from './setup.mjs';

const packages = ['iproute2', 'nftables', 'wireguard-tools', 'wireguard-go', 'iputils-ping', 'wrk'];

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}

async function main(args) {
  const mode = chooseMode();
  if (mode === 'plain') {
    throw new SetupError('The bench makes networks and WireGuard devices of its own: run it as root.');
  }
  await ensureDependencies();
  if (!process.env.TEST_DIST) await ensureBuild();
  const { missing, line, reason } = await ensurePackages(packages, { ask: true });
  if (missing.length > 0) throw new SetupError(`The bench needs ${missing.join(', ')} (${reason}). As root: ${line}`);

  const folder = mkdtempSync(join(tmpdir(), 'causeway-bench-'));
  const disk = mkdtempSync(join(tmpdir(), 'causeway-bench-disk-'));
  chmodSync(disk, 0o755);
  try {
    const env = { CAUSEWAY_BENCH_MODE: mode, CAUSEWAY_BENCH_FOLDER: folder, CAUSEWAY_BENCH_DISK: disk };
    return await runInNamespaces(mode, ['../bench/run.mjs', ...args], env);
  } finally {
    for (const made of [folder, disk]) rmSync(made, { recursive: true, force: true });
  }
}
