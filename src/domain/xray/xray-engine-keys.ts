/** The engine that serves all proxy users of this host. */
export const XRAY_ENGINE = 'xray';

/** The key under which the engine applies one user. */
export const xrayUserKey = (id: string): string => `user:${id}`;

/** The key under which the engine applies the inbound and all users. */
export const XRAY_INBOUND_KEY = 'inbound';
