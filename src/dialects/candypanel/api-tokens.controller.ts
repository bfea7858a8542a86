import { Body, Delete, Get, HttpCode, Param, Post } from '@nestjs/common';
import { ApiTokensService } from '../../domain/auth/api-tokens.service.js';
import { Answers } from '../../http/route.decorators.js';
import { ApiTokenResponse, ApiTokenPutRequest } from './api-tokens.dto.js';
import { CandyPanelApi } from './candypanel.api.js';
import { Confirmation } from './envelope.dto.js';
import { done, withData } from './envelope.mapper.js';

@CandyPanelApi('api-tokens')
export class ApiTokensController {
  constructor(private readonly tokens: ApiTokensService) {}

  /**
   * Create an API token, or give it another value
   * @remarks A token opens all dialects, with the rights of an admin unless `scope` says less.
   */
  @Post()
  @HttpCode(200)
  async putApiToken(@Body() { name, token, scope }: ApiTokenPutRequest): Promise<Confirmation> {
    await this.tokens.upsert({ name, token, scope: scope ?? undefined });
    return done(`API token '${name}' added/updated successfully.`);
  }

  /**
   * Delete an API token
   * @remarks It opens nothing any more when this answers.
   * @param name Name of the token, percent-encoded
   */
  @Delete(':name')
  @Answers({ api_token_not_found: 400 })
  async deleteApiToken(@Param('name') name: string): Promise<Confirmation> {
    await this.tokens.remove(name);
    return done(`API token '${name}' deleted successfully.`);
  }

  /**
   * Show the value of an API token
   * @remarks The value itself; the event log remembers that it was shown.
   * @param name Name of the token, percent-encoded
   */
  @Get(':name')
  async getApiToken(@Param('name') name: string): Promise<ApiTokenResponse> {
    return withData('API token retrieved.', { token: await this.tokens.reveal(name) });
  }
}
