import { AsyncLocalStorage } from 'node:async_hooks';

/** Who asked for what is being done. The caller may become known after the request has begun. */
export interface RequestContext {
  /** User name, `token:<name>`, or what a job calls itself. */
  actor: string;
  /** The caller's address; null for what no request asked for. */
  ip: string | null;
  requestId: string | null;
}

const storage = new AsyncLocalStorage<RequestContext>();

/** Travels with everything that a request, a bot update or a job starts. */
export const requestContext = {
  run<T>(context: RequestContext, work: () => T): T {
    return storage.run(context, work);
  },

  /** Undefined outside of `run`. Writing `actor` on it counts from then on. */
  current(): RequestContext | undefined {
    return storage.getStore();
  },
};
