import { Body, Delete, Get, HttpCode, Param, Post, Put } from '@nestjs/common';
import { ClientsService } from '../../domain/clients/clients.service.js';
import { Answers } from '../../http/route.decorators.js';
import { CandyPanelApi } from './candypanel.api.js';
import {
  ClientConfigResponse,
  ClientRecord,
  ClientCreateRequest,
  ClientCreatedResponse,
  ClientUpdateRequest,
} from './clients.dto.js';
import { toClientChange, toClientRecord, toConfigError, toNewClient } from './clients.mapper.js';
import { Confirmation } from './envelope.dto.js';
import { done, withData } from './envelope.mapper.js';

@CandyPanelApi('clients')
export class ClientsController {
  constructor(private readonly clients: ClientsService) {}

  /**
   * List all clients, oldest first
   * @remarks With their private keys.
   */
  @Get()
  async listClients(): Promise<ClientRecord[]> {
    return (await this.clients.listWithKeys()).map(toClientRecord);
  }

  /**
   * Create a client
   * @remarks Gives it a key pair and the lowest free address of its interface. It may connect when this answers.
   */
  @Post()
  @HttpCode(200)
  @Answers({ client_interface_missing: 400 })
  async createClient(@Body() body: ClientCreateRequest): Promise<ClientCreatedResponse> {
    const { config } = await this.clients.create(toNewClient(body));
    return withData('Client created successfully.', { client_config: config });
  }

  /**
   * Show a client
   * @param name Name of the client, percent-encoded
   */
  @Get(':client_name')
  async getClient(@Param('client_name') name: string): Promise<ClientRecord> {
    return toClientRecord(await this.clients.get({ name }));
  }

  /**
   * Change a client
   * @remarks Its config file stays good: keys and address never change. It is cut off, or let on, when this answers.
   * @param name Name of the client, percent-encoded
   */
  @Put(':client_name')
  @Answers({ client_not_found: 400 })
  async updateClient(@Param('client_name') name: string, @Body() body: ClientUpdateRequest): Promise<Confirmation> {
    await this.clients.update({ name }, toClientChange(body));
    return done(`Client '${name}' edited successfully.`);
  }

  /**
   * Delete a client
   * @remarks Its traffic has stopped when this answers; its name and address are free for another.
   * @param name Name of the client, percent-encoded
   */
  @Delete(':client_name')
  @Answers({ client_not_found: 400 })
  async deleteClient(@Param('client_name') name: string): Promise<Confirmation> {
    await this.clients.remove({ name });
    return done(`Client '${name}' deleted successfully.`);
  }

  /**
   * Get a client's config file
   * @param name Name of the client, percent-encoded
   */
  @Get(':client_name/config')
  async getClientConfig(@Param('client_name') name: string): Promise<ClientConfigResponse> {
    const { config } = await this.clients.config({ name }).catch((error: unknown) => {
      throw toConfigError(error);
    });
    return withData('Client config retrieved successfully.', { config });
  }
}
