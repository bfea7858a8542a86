import { Body, Delete, Get, HttpCode, Post, Req, Res } from '@nestjs/common';
import { ApiResponse } from '@nestjs/swagger';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { AuthService } from '../../domain/auth/auth.service.js';
import type { Principal } from '../../domain/auth/principal.js';
import { TokensService } from '../../domain/auth/tokens.service.js';
import { sessionCookie } from '../../http/request-caller.js';
import { CurrentPrincipal, Limit, Public } from '../../http/route.decorators.js';
import { SessionEndResponse, SessionRequest, SessionResponse, SessionStateResponse } from './session.dto.js';
import { WgEasyApi } from './wg-easy.api.js';
import { WgEasyError } from './wg-easy.errors.js';

const SESSION_SECONDS = 24 * 3600;

@WgEasyApi('session')
export class SessionController {
  constructor(
    private readonly auth: AuthService,
    private readonly tokens: TokensService,
  ) {}

  /**
   * Open a session with the password of wg-easy's user
   * @remarks That user is the first admin, unless the setting `wg_easy_user` names another.
   */
  @Public()
  @Limit(5, 'address')
  @Post()
  @HttpCode(200)
  @ApiResponse({
    status: 401,
    type: WgEasyError,
    description: 'Wrong password or code',
    example: { error: 'Incorrect Password', code: 'UNAUTHORIZED' },
  })
  async createSession(
    @Body() body: SessionRequest,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<SessionResponse> {
    const user = await this.auth.loginByPassword({ ...body, ip: request.ip });
    const { token } = this.tokens.issue(user, { typ: 'access', ttlSeconds: SESSION_SECONDS });
    void reply.setCookie(sessionCookie, token, { ...cookieOptions(request), maxAge: SESSION_SECONDS });
    return { success: true, sessionToken: token };
  }

  /** Tell whether the caller has a session */
  @Public({ identify: true })
  @Get()
  getSession(@Req() request: FastifyRequest): SessionStateResponse {
    return { requiresPassword: true, authenticated: request.principal?.role === 'admin' };
  }

  /**
   * End the caller's session
   * @remarks An API token has no session and stays good.
   */
  @Delete()
  @HttpCode(200)
  async deleteSession(
    @CurrentPrincipal() principal: Principal,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<SessionEndResponse> {
    await this.tokens.revoke(principal);
    void reply.clearCookie(sessionCookie, cookieOptions(request));
    return { success: true };
  }
}

function cookieOptions(request: FastifyRequest) {
  return { path: '/api', httpOnly: true, sameSite: 'lax', secure: request.protocol === 'https' } as const;
}
