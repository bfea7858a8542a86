import 'reflect-metadata';
import { existsSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { openapi } from './openapi.command.js';
import { rotateKey } from './rotate-key.command.js';

/** Does the work and returns the exit code. */
type Command = (args: string[]) => Promise<number>;

const commands: Record<string, { usage: string; run: Command }> = {
  openapi: {
    usage: 'openapi [--check]   write openapi/*.json, or fail where they differ from the code',
    run: (args) => openapi({ check: flag(args, 'check') }),
  },
  'rotate-key': {
    usage: 'rotate-key          seal all secrets in the database with a new key',
    run: () => rotateKey(process.env),
  },
};

function flag(args: string[], name: string): boolean {
  return parseArgs({ args, options: { [name]: { type: 'boolean', default: false } } }).values[name] === true;
}

// As npm start does: the environment wins over the file.
if (existsSync('.env')) process.loadEnvFile('.env');

const [name = '', ...args] = process.argv.slice(2);
const command = commands[name];
if (command === undefined) {
  const usages = Object.values(commands).map(({ usage }) => `  ${usage}\n`);
  process.stderr.write(`usage: node dist/cli/main.js <command>\n${usages.join('')}`);
  process.exitCode = 2;
} else {
  try {
    process.exitCode = await command.run(args);
  } catch (error) {
    process.stderr.write(`${name} failed: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 1;
  }
}
