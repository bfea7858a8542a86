/** Injects the URL (a string) of the database that is in use: DATABASE_URL, or that of the embedded server. */
export const DATABASE_URL_TOKEN = Symbol('DATABASE_URL');
