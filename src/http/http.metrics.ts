import { Injectable } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { collectDefaultMetrics, Histogram, register } from 'prom-client';

/** Requests by route, and what prom-client knows of the process. Other parts register gauges of their own. */
@Injectable()
export class HttpMetrics {
  private readonly duration: Histogram<'method' | 'route' | 'status'>;

  constructor() {
    // One registry a process: a second application in a test must not register twice.
    const existing = register.getSingleMetric('causeway_http_request_duration_seconds');
    if (!existing) collectDefaultMetrics();
    this.duration =
      (existing as Histogram<'method' | 'route' | 'status'> | undefined) ??
      new Histogram({
        name: 'causeway_http_request_duration_seconds',
        help: 'Time from the request to the end of the answer, in seconds',
        labelNames: ['method', 'route', 'status'],
        buckets: [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
      });
  }

  observe(request: FastifyRequest, reply: FastifyReply): void {
    // The pattern and never the path: paths of callers would make labels without end.
    const route = request.is404 ? 'none' : (request.routeOptions.url ?? 'none');
    this.duration.observe({ method: request.method, route, status: reply.statusCode }, reply.elapsedTime / 1000);
  }

  /** The text that a Prometheus server scrapes, and its content type. */
  async scrape(): Promise<{ contentType: string; text: string }> {
    return { contentType: register.contentType, text: await register.metrics() };
  }
}
