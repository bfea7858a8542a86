import { Body, HttpCode, Ip, Post } from '@nestjs/common';
import { ApiResponse } from '@nestjs/swagger';
import { AuthService } from '../../domain/auth/auth.service.js';
import { TokensService } from '../../domain/auth/tokens.service.js';
import { Public } from '../../http/route.decorators.js';
import { CandyPanelApi } from './candypanel.api.js';
import { CandyPanelError } from './candypanel.errors.js';
import { LoginRequest, LoginResponse } from './sessions.dto.js';

/** There is no way to refresh a token in this API. */
const TOKEN_SECONDS = 30 * 24 * 3600;

@CandyPanelApi()
export class SessionsController {
  constructor(
    private readonly auth: AuthService,
    private readonly tokens: TokensService,
  ) {}

  /**
   * Log an admin in
   * @remarks The token is good for 30 days, at all APIs of this server.
   */
  @Public()
  @Post('login')
  @HttpCode(200)
  @ApiResponse({
    status: 401,
    type: CandyPanelError,
    description: 'Wrong username, password or code',
    example: { detail: 'Wrong username or password!' },
  })
  async login(@Body() body: LoginRequest, @Ip() ip: string): Promise<LoginResponse> {
    const user = await this.auth.login({ ...body, ip, role: 'admin' });
    const { token } = this.tokens.issue(user, { typ: 'access', ttlSeconds: TOKEN_SECONDS });
    return { access_token: token, token_type: 'bearer' };
  }
}
