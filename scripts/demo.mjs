// `npm run demo`: sets up what is missing, then runs demo-run.mjs in namespaces of its own, so that nothing of it reaches
// this host or stays behind. TEST_DIST takes another build than dist/.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chooseMode, runInNamespaces } from './namespaces.mjs';
import { SetupError, ensureBuild, ensureDependencies, ensurePackages } from './setup.mjs';

const packages = ['iproute2', 'nftables', 'wireguard-tools', 'wireguard-go', 'iputils-ping'];

try {
  process.exitCode = await main();
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}

async function main() {
  const mode = chooseMode();
  if (mode === 'plain') {
    throw new SetupError(
      'The demo makes networks, WireGuard devices and firewall rules of its own, which is not allowed here.\n' +
        'Be root (sudo npm run demo), or allow user namespaces and access to /dev/net/tun; in a container: --privileged.',
    );
  }
  await ensureDependencies();
  if (!process.env.TEST_DIST) await ensureBuild();
  const { missing, line, reason } = await ensurePackages(packages, { ask: true });
  if (missing.length > 0) throw new SetupError(`The demo needs ${missing.join(', ')} (${reason}). As root: ${line}`);

  const folder = mkdtempSync(join(tmpdir(), 'causeway-demo-'));
  try {
    return await runInNamespaces(mode, ['demo-run.mjs'], { CAUSEWAY_DEMO_FOLDER: folder });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
