import { Body, Delete, Get, Header, HttpCode, Param, Post, Res } from '@nestjs/common';
import { ApiCreatedResponse, ApiNoContentResponse, ApiOkResponse, ApiOperation, ApiProduces } from '@nestjs/swagger';
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

  /** The file and the QR code hold the private key: they are what the client's owner needs, and nobody else. */
  @Post()
  @Limit(10, 'global')
  @ApiOperation({ summary: 'Create a client', operationId: 'wgEasyCreateClient' })
  @ApiCreatedResponse({ type: CreatedClientItem })
  async create(@Body() body: CreateClientRequest): Promise<CreatedClientItem> {
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

  @Get()
  @Limit(60, 'session')
  @ApiOperation({ summary: 'List the clients of wg0, oldest first', operationId: 'wgEasyListClients' })
  @ApiOkResponse({ type: [ClientItem] })
  async list(): Promise<ClientItem[]> {
    return (await this.clients.list(WG0)).map(toItem);
  }

  @Get(':clientId')
  @ApiOperation({ summary: 'Show a client with what it has used', operationId: 'wgEasyGetClient' })
  @ApiOkResponse({ type: ClientDetails })
  async get(@Param('clientId') id: string): Promise<ClientDetails> {
    return toDetails(await this.clients.get({ id }, WG0));
  }

  /** Its traffic has stopped when this answers. */
  @Delete(':clientId')
  @HttpCode(204)
  @Limit(10, 'global')
  @ApiOperation({ summary: 'Delete a client', operationId: 'wgEasyDeleteClient' })
  @ApiNoContentResponse()
  async remove(@Param('clientId') id: string): Promise<void> {
    await this.clients.remove({ id }, WG0);
  }

  @Post(':clientId/enable')
  @HttpCode(200)
  @ApiOperation({ summary: 'Let a client connect again', operationId: 'wgEasyEnableClient' })
  @ApiOkResponse({ type: Done })
  async enable(@Param('clientId') id: string): Promise<Done> {
    await this.clients.update({ id }, { enabled: true }, WG0);
    return { success: true };
  }

  /** It keeps its keys and its address. */
  @Post(':clientId/disable')
  @HttpCode(200)
  @ApiOperation({ summary: 'Cut a client off', operationId: 'wgEasyDisableClient' })
  @ApiOkResponse({ type: Done })
  async disable(@Param('clientId') id: string): Promise<Done> {
    await this.clients.update({ id }, { enabled: false }, WG0);
    return { success: true };
  }

  @Get(':clientId/configuration')
  @Header('Cache-Control', 'no-store')
  @ApiOperation({ summary: "Download a client's file", operationId: 'wgEasyGetClientConfiguration' })
  @ApiProduces('text/plain')
  @ApiOkResponse({ content: { 'text/plain': { schema: { type: 'string' } } }, description: 'The file, as a download' })
  async configuration(@Param('clientId') id: string, @Res({ passthrough: true }) reply: FastifyReply): Promise<string> {
    const { name, config } = await this.clients.config({ id }, WG0);
    reply.header('Content-Type', 'text/plain; charset=utf-8');
    reply.header('Content-Disposition', `attachment; filename="${configFileName(name, id)}"`);
    return config;
  }

  @Get(':clientId/qrcode.svg')
  @Header('Cache-Control', 'no-store')
  @ApiOperation({ summary: "Show a client's file as a QR code", operationId: 'wgEasyGetClientQrCode' })
  @ApiProduces('image/svg+xml')
  @ApiOkResponse({ content: { 'image/svg+xml': { schema: { type: 'string' } } }, description: 'An SVG picture' })
  async qrCode(@Param('clientId') id: string, @Res({ passthrough: true }) reply: FastifyReply): Promise<string> {
    const { config } = await this.clients.config({ id }, WG0);
    reply.header('Content-Type', 'image/svg+xml');
    return qrSvg(config);
  }
}
