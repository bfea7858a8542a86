import { Body, Get, HttpCode, Post, Query } from '@nestjs/common';
import { XrayUsersService } from '../../domain/xray/xray-users.service.js';
import { Answers } from '../../http/route.decorators.js';
import { qrPngDataUrl } from '../../platform/qr/qr-code.js';
import { XraySuccess } from './success.dto.js';
import {
  XrayAliasRequest,
  XrayKickResponse,
  XrayLinkResponse,
  XrayUserAddRequest,
  XrayUserReference,
  XrayUserResponse,
  XrayUsersResponse,
  XrayUserStatsResponse,
  XrayUserUpdateRequest,
} from './users.dto.js';
import { toNewUser, toUserChange, toUserItem, toUserRef, toUserStats } from './users.mapper.js';
import { XrayDashboardApi } from './xray-dashboard.api.js';

@XrayDashboardApi('users')
export class UsersController {
  constructor(private readonly users: XrayUsersService) {}

  /** List all users, oldest first */
  @Get()
  async listUsers(): Promise<XrayUsersResponse> {
    return { ok: true, users: (await this.users.list()).map(toUserItem) };
  }

  /**
   * Add a user
   * @remarks It may connect when this answers. The first one also makes the inbound, as the engine can best do it.
   */
  @Post('add')
  @HttpCode(200)
  @Answers({ xray_user_exists: 409 })
  async addUser(@Body() body: XrayUserAddRequest): Promise<XrayUserResponse> {
    return { ok: true, user: toUserItem(await this.users.create(toNewUser(body))) };
  }

  /**
   * Delete a user
   * @remarks No new connection opens when this answers; established ones are cut.
   */
  @Post('delete')
  @HttpCode(200)
  @Answers({ xray_user_not_found: 404 })
  async deleteUser(@Body() body: XrayUserReference): Promise<XraySuccess> {
    await this.users.remove(toUserRef(body));
    return { ok: true };
  }

  /**
   * Give a user a new uuid
   * @remarks The old one has stopped working when this answers, without a restart of the engine.
   */
  @Post('kick')
  @HttpCode(200)
  @Answers({ xray_user_not_found: 404 })
  async kickUser(@Body() body: XrayUserReference): Promise<XrayKickResponse> {
    return { ok: true, new_uuid: (await this.users.kick(toUserRef(body))).uuid };
  }

  /** Name a user for people */
  @Post('update-alias')
  @HttpCode(200)
  @Answers({ xray_user_not_found: 404 })
  async updateAlias(@Body() body: XrayAliasRequest): Promise<XraySuccess> {
    await this.users.update(toUserRef(body), { alias: body.alias });
    return { ok: true };
  }

  /**
   * Change a user's quota, date, alias or switch
   * @remarks Beyond the documented contract. The user is cut off, or let in, when this answers.
   */
  @Post('update')
  @HttpCode(200)
  @Answers({ xray_user_not_found: 404 })
  async updateUser(@Body() body: XrayUserUpdateRequest): Promise<XrayUserResponse> {
    return { ok: true, user: toUserItem(await this.users.update(toUserRef(body), toUserChange(body))) };
  }

  /** Get the link that a client application imports */
  @Get('link')
  @Answers({ xray_user_not_found: 404, xray_server_host_missing: 409 })
  async getUserLink(@Query() query: XrayUserReference): Promise<XrayLinkResponse> {
    const { link, email } = await this.users.link(toUserRef(query));
    return { ok: true, link, qr: qrPngDataUrl(link), email };
  }

  /** Show what was counted of all users */
  @Get('stats')
  async showUserStats(): Promise<XrayUserStatsResponse> {
    const users = (await this.users.list()).map((user) => ({ user, stats: toUserStats(user) }));
    return {
      ok: true,
      stats: Object.fromEntries(users.map(({ user, stats }) => [user.email, stats])),
      users: users.map(({ user: { email, uuid, alias }, stats }) => ({ email, uuid, alias, ...stats })),
    };
  }
}
