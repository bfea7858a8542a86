// The laws of who may import whom. Each comment says what to do instead. test/architecture/laws.test.ts proves them.
const domainModules = [
  'events',
  'settings',
  'users',
  'auth',
  'webhooks',
  'engines',
  'usage',
  'interfaces',
  'clients',
  'tunnels',
  'xray',
  'plans',
  'panels',
  'accounts',
  'payments',
  'nodes',
  'instances',
  'backups',
  'system',
];

/** One law: files of `from` import nothing else of src/ than `only`, beside their own folder and the platform. */
function onlyTo(name, folder, only, comment) {
  const allowed = [`^src/${folder}/`, '^src/platform/', ...only];
  return {
    name,
    severity: 'error',
    comment,
    from: { path: `^src/${folder}/` },
    to: { path: '^src/', pathNot: allowed },
  };
}

const layers = [
  onlyTo(
    'dialects-speak',
    'dialects',
    ['^src/http/', '^src/domain/'],
    'A dialect translates: put the rest into http/ or domain/.',
  ),
  onlyTo(
    'http-is-shared',
    'http',
    ['^src/domain/(auth|users)/', '^src/domain/domain-error[.]ts$'],
    'http/ knows auth and users only: what it shows of others is registered with it from app.module.ts or a dialect.',
  ),
  onlyTo(
    'drivers-implement-ports',
    'drivers',
    ['^src/domain/.+[.]port[.]ts$', '^src/domain/domain-error[.]ts$'],
    'A driver knows the port that it implements, nothing else of the domain.',
  ),
  onlyTo('domain-knows-itself', 'domain', [], 'What the domain needs from outside is a port; a driver implements it.'),
  onlyTo(
    'database-knows-entities',
    'database',
    ['^src/domain/.+[.]entity[.]ts$'],
    'The database knows entities, not what is done.',
  ),
  onlyTo('platform-knows-nothing', 'platform', [], 'The platform knows nothing of us: pass it in.'),
  {
    ...onlyTo(
      'cli-uses-the-domain',
      'cli',
      ['^src/domain/', '^src/database/'],
      'A command uses the domain; only main.ts and openapi.command.ts see the whole.',
    ),
    from: { path: '^src/cli/', pathNot: '^src/cli/(main|openapi[.]command)[.]ts$' },
  },
  {
    name: 'only-the-root-composes',
    severity: 'error',
    comment: 'app.module.ts is imported by main.ts and by the CLI.',
    from: { pathNot: '^src/(main[.]ts$|cli/)' },
    to: { path: '^src/app[.]module[.]ts$' },
  },
];

const dialects = [
  {
    name: 'dialects-apart',
    severity: 'error',
    comment: 'Dialects never share: move it to http/ when all need it, else say it twice.',
    from: { path: '^src/dialects/([^/]+)/' },
    to: { path: '^src/dialects/', pathNot: '^src/dialects/$1/' },
  },
  {
    name: 'dialects-without-orm',
    severity: 'error',
    comment: 'A dialect calls a service; queries belong to the domain. Entities come in by `import type`.',
    from: { path: '^src/dialects/' },
    to: {
      path: ['(^|/)node_modules/(typeorm|@nestjs/typeorm|pg)/', '[.]entity[.]ts$'],
      dependencyTypesNot: ['type-only'],
    },
  },
];

const order = domainModules.map((name, index) => ({
  name: `domain-order-${name}`,
  severity: 'error',
  comment: `Modules import to the left only: ${domainModules.join(', ')}. Turn it round with an event or a registration.`,
  from: { path: `^src/domain/${name}/` },
  to: { path: `^src/domain/(${domainModules.slice(index + 1).join('|') || '(?!)'})/` },
}));

module.exports = {
  forbidden: [
    ...layers,
    ...dialects,
    ...order,
    {
      name: 'domain-order-complete',
      severity: 'error',
      comment: 'A new domain module gets its place in the order, here and in docs/architecture.md.',
      from: { path: '^src/domain/[^/]+/', pathNot: `^src/domain/(${domainModules.join('|')})/` },
      to: {},
    },
    {
      name: 'domain-root-is-bare',
      severity: 'error',
      comment: 'Files beside the modules are for all of them, so they import none.',
      from: { path: '^src/domain/[^/]+[.]ts$' },
      to: { path: '^src/domain/[^/]+/' },
    },
    {
      name: 'no-cycles',
      severity: 'error',
      comment:
        'Two files that need each other are one file, or three. Types of the same folder may refer to each other.',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    {
      name: 'no-folder-cycles',
      severity: 'error',
      comment: 'Two folders that need each other are one folder, or three.',
      scope: 'folder',
      from: {},
      to: { circular: true },
    },
    {
      name: 'declared-packages-only',
      severity: 'error',
      comment: 'Add it to the dependencies of package.json: what another package happens to bring may go.',
      from: {},
      to: { dependencyTypes: ['npm-dev', 'npm-no-pkg', 'npm-unknown'], dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'everything-is-found',
      severity: 'error',
      comment: 'This import leads nowhere.',
      from: {},
      to: { couldNotResolve: true },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    combinedDependencies: false,
    detectProcessBuiltinModuleCalls: true,
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default', 'types'],
      extensions: ['.ts', '.js', '.json'],
    },
  },
};
