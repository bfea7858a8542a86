import FindMyWay from 'find-my-way';

/**
 * Which methods a path has. Fastify answers 404 for a known path with another method, so this second table of the
 * same router tells "no such route" from "not with this method".
 */
export class AllowedMethods {
  private readonly router: ReturnType<typeof FindMyWay>;
  private readonly byPattern = new Map<string, Set<string>>();

  constructor(options: { ignoreTrailingSlash: boolean; maxParamLength: number; caseSensitive: boolean }) {
    this.router = FindMyWay(options);
  }

  add(method: string | string[], pattern: string): void {
    // Two controllers may call the parameter of one path differently.
    const shape = pattern.replace(/:\w+/g, ':x').replace(/(.)\/$/, '$1');
    let methods = this.byPattern.get(shape);
    if (!methods) {
      methods = new Set();
      this.byPattern.set(shape, methods);
      // One entry a shape, whatever its methods: they are in the store. Every path is looked up as a GET.
      this.router.on('GET', shape, () => undefined, methods);
    }
    for (const name of [method].flat()) methods.add(name);
  }

  /** Upper-case names, sorted; empty for an unknown path. `path` has no query. */
  of(path: string): string[] {
    const found = this.router.find('GET', path);
    return found ? [...(found.store as Set<string>)].sort() : [];
  }
}
