/** Where programs are looked for: the PATH, and the system folders that a user's path, or a unit's, may leave out. */
export const programPath = [
  process.env['PATH'] ?? '',
  '/usr/local/sbin',
  '/usr/local/bin',
  '/usr/sbin',
  '/usr/bin',
  '/sbin',
  '/bin',
]
  .filter((folder) => folder !== '')
  .join(':');
