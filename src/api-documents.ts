import type { INestApplication } from '@nestjs/common';
import { CandyPanelModule } from './dialects/candypanel/candypanel.module.js';
import { CcPanelModule } from './dialects/ccpanel/ccpanel.module.js';
import { V2RayAccountsModule } from './dialects/v2ray-accounts/v2ray-accounts.module.js';
import { WgEasyModule } from './dialects/wg-easy/wg-easy.module.js';
import { XrayDashboardModule } from './dialects/xray-dashboard/xray-dashboard.module.js';
import { HttpModule } from './http/http.module.js';
import { type ApiDocument, type ApiPart, mergedDocument, partDocument } from './http/openapi.js';

/** The dialects, in the order in which Swagger UI shows them. */
export const dialectParts: readonly ApiPart[] = [
  {
    name: 'candypanel',
    title: 'CandyPanel',
    description:
      "A WireGuard server, its interfaces and clients, through CandyPanel's API. `POST /login` gives the token to authorize with.",
    module: CandyPanelModule,
  },
  {
    name: 'wg-easy',
    title: 'wg-easy',
    description: "WireGuard clients, through wg-easy's API. `POST /api/session` gives the token to authorize with.",
    module: WgEasyModule,
  },
  {
    name: 'v2ray-accounts',
    title: 'V2Ray accounts',
    description: 'Plans, payments and V2Ray accounts on 3x-ui panels.',
    module: V2RayAccountsModule,
  },
  {
    name: 'xray-dashboard',
    title: 'Xray dashboard',
    description: 'An Xray server: users, traffic, events.',
    module: XrayDashboardModule,
  },
  {
    name: 'ccpanel',
    title: 'CCPanel',
    description: 'Docker hosts and the containers on them.',
    module: CcPanelModule,
  },
];

const server: ApiPart = { name: 'server', title: 'Server', description: 'Health and metrics.', module: HttpModule };

/** One document a dialect, and `all` with the server's own routes in it too. */
export function apiDocuments(app: INestApplication): ApiDocument[] {
  const dialects = dialectParts.map((part) => ({ name: part.name, document: partDocument(app, part) }));
  const rest = { name: server.name, document: partDocument(app, server) };
  return [...dialects, { name: 'all', document: mergedDocument([...dialects, rest]) }];
}
