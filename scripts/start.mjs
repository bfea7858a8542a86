// `npm start`: sets up what is missing, then becomes the server. Node built-ins only; each step does nothing when there
// is nothing to do.
import { existsSync } from 'node:fs';
import { join } from 'node:path';

const [major, minor] = process.versions.node.split('.').map(Number);
if (major < 20 || (major === 20 && minor < 19)) {
  console.error(`Causeway needs Node.js 20.19 or later, and this is ${process.version}. Install a newer one.`);
  process.exit(1);
}

// After the check: an old Node could not read it.
const { SetupError, ensureBuild, ensureDependencies, ensurePackages, root } = await import('./setup.mjs');

const wireguardPackages = ['iproute2', 'nftables', 'wireguard-tools', 'wireguard-go'];

try {
  // What the environment says already, wins.
  const envFile = join(root, '.env');
  if (existsSync(envFile)) process.loadEnvFile(envFile);
  await ensureDependencies();
  await ensureBuild();
  if ((process.env.WIREGUARD || 'auto') !== 'off') await ensureWireguard();
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  console.error(error.message);
  process.exit(1);
}

await import('../dist/main.js');

async function ensureWireguard() {
  const { missing, line, reason } = await ensurePackages(wireguardPackages);
  if (missing.length === 0) return;
  console.error(`Missing for WireGuard: ${missing.join(', ')} (${reason}). As root: ${line}`);
}
