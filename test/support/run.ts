/** What `npm test` hands to the tests. Throws when it is not there: such tests cannot run by vitest alone. */
export function runFact(name: 'CAUSEWAY_TEST_FOLDER' | 'CAUSEWAY_TEST_PRODUCT' | 'CAUSEWAY_TEST_POSTGRES'): string {
  const value = process.env[name];
  if (value === undefined)
    throw new Error('This test needs the surroundings that `npm test` makes: npm test -- <file>');
  return value;
}
