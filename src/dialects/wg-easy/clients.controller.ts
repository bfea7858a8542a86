import { Body, Delete, Get, Header, HttpCode, Param, Post, Res } from '@nestjs/common';
import { ApiOkResponse, ApiProduces } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import { ClientsService } from '../../domain/clients/clients.service.js';
import { Limit } from '../../http/route.decorators.js';
import { qrSvg } from '../../platform/qr/qr-code.js';
import { ClientDetails, ClientItem, CreateClientRequest, CreatedClientItem, Done } from './clients.dto.js';
import { configFileName, toCreated, toDetails, toItem } from './clients.mapper.js';
import { WgEasyApi } from './wg-easy.api.js';

/** wg-easy knows one interface. */
const WG0 = 0;

@WgEasyApi('wireguard/client')
export class ClientsController {
  constructor(private readonly clients: ClientsService) {}

  /**
   * Create a client
   * @remarks It may connect when this answers. The file and the QR code hold the private key: they are for the client's
   * owner and nobody else.
   */
  @Post()
  @Limit(10, 'global')
  async createClient(@Body() body: CreateClientRequest): Promise<CreatedClientItem> {
    return toCreated(
      await this.clients.create({
        name: body.name,
        interfaceNumber: WG0,
        expiresAt: null,
        trafficLimitBytes: '0',
        note: '',
      }),
    );
  }

  /** List the clients of wg0, oldest first */
  @Get()
  @Limit(60, 'session')
  async listClients(): Promise<ClientItem[]> {
    return (await this.clients.list(WG0)).map(toItem);
  }

  /**
   * Show a client with what it has used
   * @param id Id of the client, a UUID
   */
  @Get(':clientId')
  async getClient(@Param('clientId') id: string): Promise<ClientDetails> {
    return toDetails(await this.clients.get({ id }, WG0));
  }

  /**
   * Delete a client
   * @remarks Its traffic has stopped when this answers.
   * @param id Id of the client, a UUID
   */
  @Delete(':clientId')
  @HttpCode(204)
  @Limit(10, 'global')
  async deleteClient(@Param('clientId') id: string): Promise<void> {
    await this.clients.remove({ id }, WG0);
  }

  /**
   * Let a client connect again
   * @param id Id of the client, a UUID
   */
  @Post(':clientId/enable')
  @HttpCode(200)
  async enableClient(@Param('clientId') id: string): Promise<Done> {
    await this.clients.update({ id }, { enabled: true }, WG0);
    return { success: true };
  }

  /**
   * Cut a client off
   * @remarks It keeps its keys and its address. Its traffic has stopped when this answers.
   * @param id Id of the client, a UUID
   */
  @Post(':clientId/disable')
  @HttpCode(200)
  async disableClient(@Param('clientId') id: string): Promise<Done> {
    await this.clients.update({ id }, { enabled: false }, WG0);
    return { success: true };
  }

  /**
   * Download a client's config file
   * @param id Id of the client, a UUID
   */
  @Get(':clientId/configuration')
  @Header('Cache-Control', 'no-store')
  @ApiProduces('text/plain')
  @ApiOkResponse({ content: { 'text/plain': { schema: { type: 'string' } } }, description: 'The file, as a download' })
  async getClientConfiguration(
    @Param('clientId') id: string,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<string> {
    const { name, config } = await this.clients.config({ id }, WG0);
    reply.header('Content-Type', 'text/plain; charset=utf-8');
    reply.header('Content-Disposition', `attachment; filename="${configFileName(name, id)}"`);
    return config;
  }

  /**
   * Show a client's config file as a QR code
   * @param id Id of the client, a UUID
   */
  @Get(':clientId/qrcode.svg')
  @Header('Cache-Control', 'no-store')
  @ApiProduces('image/svg+xml')
  @ApiOkResponse({ content: { 'image/svg+xml': { schema: { type: 'string' } } }, description: 'An SVG picture' })
  async getClientQrCode(
    @Param('clientId') id: string,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<string> {
    const { config } = await this.clients.config({ id }, WG0);
    reply.header('Content-Type', 'image/svg+xml');
    return qrSvg(config);
  }
}
