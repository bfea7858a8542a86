// A vitest reporter: counts the run into the file CAUSEWAY_TEST_COUNTS for the closing line of `npm test`.
import { writeFileSync } from 'node:fs';

export default class CountReporter {
  onTestRunEnd(modules, unhandledErrors) {
    const counts = { passed: 0, failed: unhandledErrors.length, skipped: 0 };
    for (const module of modules) {
      // A file that does not load, or a hook that fails, leaves no failed test behind.
      for (const part of [module, ...module.children.allSuites()]) if (part.errors().length > 0) counts.failed += 1;
      for (const test of module.children.allTests()) {
        const { state } = test.result();
        if (state === 'passed' || state === 'failed') counts[state] += 1;
        else counts.skipped += 1;
      }
    }
    writeFileSync(process.env.CAUSEWAY_TEST_COUNTS, JSON.stringify(counts));
  }
}
