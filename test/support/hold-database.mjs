// Opens the database as the server does (or as the command line, with `shared`) and holds it until SIGTERM or a closed
// standard input: node hold-database.mjs <product folder> <data dir> [shared]. Prints one JSON line for each thing.
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [product, dataDir, shared] = process.argv.slice(2);
const say = (fact) => process.stdout.write(`${JSON.stringify(fact)}\n`);
const log = {
  info: (message) => say({ log: message }),
  warn: (message) => say({ log: message }),
  error: (message) => say({ log: message }),
};
const { openDatabase } = await import(pathToFileURL(join(product, 'dist/database/database.js')).href);
try {
  const options = { exclusive: shared !== 'shared' };
  const database = await openDatabase({ databaseUrl: null, dataDir }, log, options);
  say({ url: database.url });
  const stopped = new Promise((resolve) => {
    process.once('SIGTERM', resolve);
    process.stdin.once('end', resolve).resume();
  });
  await stopped;
  await database.close();
  process.exit(0);
} catch (error) {
  say({ failure: error.name, message: error.message });
  process.exit(1);
}
