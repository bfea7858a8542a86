// Runs inside the namespaces that test.mjs made: one PostgreSQL for the whole run, a copy of the built product that no
// build can change meanwhile, then vitest. CAUSEWAY_TEST_FOLDER is on a tmpfs that ends with the run.
import { spawn } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { enterNamespaces } from './namespaces.mjs';
import { startPostgres } from './postgres.mjs';
import { root } from './setup.mjs';

const mode = process.env.CAUSEWAY_TEST_MODE;
const folder = process.env.CAUSEWAY_TEST_FOLDER;
if (folder === undefined || mode === undefined) throw new Error('Run this through npm test');

// What is left out, and said to be, in a mode that does not allow it. The root of a user namespace can make devices, but
// become nobody else.
const rootOnly = 'test/**/*.root.test.ts';
const leftOut = {
  root: [],
  userns: [rootOnly],
  plain: ['test/contract/**', 'test/engines/**', 'test/faults/**', rootOnly],
}[mode];

const remedy = {
  userns: 'Be root to run them.',
  plain: 'Be root to run them, or allow user namespaces and /dev/net/tun.',
};

// swc unpacks its native code into a cache: here one that only this run can see, and that is gone after it. In a user
// namespace the owner of / has no name, which swc's check of the folders above takes for somebody who could meddle.
const swcCache = '/dev/shm/swc';
const swcEnvironment = {
  ...(mode === 'plain' ? {} : { SWC_NATIVE_BINDING_CACHE: swcCache }),
  ...(mode === 'userns' ? { SWC_NATIVE_BINDING_CACHE_SKIP_SECURITY_CHECK: '1' } : {}),
};

if (mode !== 'plain') {
  enterNamespaces(folder);
  mkdirSync(swcCache, { mode: 0o700 });
}
const product = copyProduct();
// Never synced: nothing of it is to outlive the run.
const postgres = await startPostgres(join(folder, 'postgres'), mode, {
  max_connections: '400',
  fsync: 'off',
  synchronous_commit: 'off',
  full_page_writes: 'off',
  log_min_messages: 'fatal',
});
try {
  process.exitCode = await runVitest(process.argv.slice(2));
} finally {
  await postgres.stop();
}

/** The product as it was built when the run began, which a build during the run must not change. TEST_DIST wins. */
function copyProduct() {
  const target = join(folder, 'product');
  mkdirSync(target);
  cpSync(process.env.TEST_DIST || join(root, 'dist'), join(target, 'dist'), { recursive: true });
  cpSync(join(root, 'package.json'), join(target, 'package.json'));
  symlinkSync(join(root, 'node_modules'), join(target, 'node_modules'));
  return target;
}

async function runVitest(args) {
  const counts = join(folder, 'counts.json');
  const excludes = leftOut.flatMap((pattern) => ['--exclude', pattern]);
  const vitest = join(root, 'node_modules/vitest/vitest.mjs');
  const reporters = ['--reporter=default', `--reporter=${join(root, 'scripts/count.reporter.mjs')}`];
  const child = spawn(process.execPath, [vitest, 'run', ...reporters, ...excludes, ...args], {
    cwd: root,
    stdio: 'inherit',
    env: {
      ...process.env,
      ...(process.stdout.isTTY ? {} : { NO_COLOR: '1' }),
      ...swcEnvironment,
      CAUSEWAY_TEST_COUNTS: counts,
      CAUSEWAY_TEST_PRODUCT: product,
      CAUSEWAY_TEST_POSTGRES: postgres.socketFolder,
    },
  });
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'];
  // vitest gets the terminal's Ctrl+C itself; this process stays to clean up after it.
  const pass = (signal) => signal !== 'SIGINT' && child.kill(signal);
  for (const signal of signals) process.on(signal, pass);
  const code = await new Promise((resolve, reject) => child.once('error', reject).once('close', resolve));

  if (leftOut.length > 0) console.log(`Left out, for want of privileges: ${leftOut.join(', ')}. ${remedy[mode]}`);
  const counted = existsSync(counts);
  const { passed, failed, skipped } = counted
    ? JSON.parse(readFileSync(counts, 'utf8'))
    : { passed: 0, failed: 0, skipped: 0 };
  const wrong = (code ?? 1) !== 0;
  if (passed + failed === 0) console.log('No test was executed, which counts as a failure');
  const failures = failed === 0 && (wrong || passed === 0) ? 1 : failed;
  console.log(`${passed} passed, ${failures} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
  return wrong ? code || 1 : failures > 0 ? 1 : 0;
}
