import { Body, Delete, Get, HttpCode, Param, Post, Put, Query } from '@nestjs/common';
import { InterfacesService } from '../../domain/interfaces/interfaces.service.js';
import { Answers } from '../../http/route.decorators.js';
import { CandyPanelApi } from './candypanel.api.js';
import { Confirmation } from './envelope.dto.js';
import { done } from './envelope.mapper.js';
import {
  InterfaceCreateRequest,
  InterfaceDeleteQuery,
  InterfaceRecord,
  InterfaceUpdateRequest,
} from './interfaces.dto.js';
import { toInterfaceChange, toInterfaceNumber, toInterfaceRecord, toNewInterface } from './interfaces.mapper.js';

@CandyPanelApi('interfaces')
export class InterfacesController {
  constructor(private readonly interfaces: InterfacesService) {}

  /**
   * List all interfaces
   * @remarks With their private keys.
   */
  @Get()
  async listInterfaces(): Promise<InterfaceRecord[]> {
    return (await this.interfaces.list()).map(toInterfaceRecord);
  }

  /**
   * Create an interface
   * @remarks Gives it the lowest free number and a key pair, and brings it up.
   */
  @Post()
  @HttpCode(200)
  async createInterface(@Body() body: InterfaceCreateRequest): Promise<Confirmation> {
    await this.interfaces.create(toNewInterface(body));
    return done('New Interface Created!');
  }

  /**
   * Change an interface
   * @remarks The device follows before this answers.
   * @param name `wg0`, `wg1`, ...
   */
  @Put(':interface_name')
  @Answers({ interface_not_found: 400 })
  async updateInterface(
    @Param('interface_name') name: string,
    @Body() body: InterfaceUpdateRequest,
  ): Promise<Confirmation> {
    await this.interfaces.update(toInterfaceNumber(name), toInterfaceChange(body));
    return done(`Interface ${name} edited successfully.`);
  }

  /**
   * Delete an interface
   * @remarks Not while clients are on it, unless `force` is `true`: then they are deleted as well.
   * @param name `wg0`, `wg1`, ...
   */
  @Delete(':interface_name')
  @Answers({ interface_not_found: 400 })
  async deleteInterface(
    @Param('interface_name') name: string,
    @Query() query: InterfaceDeleteQuery,
  ): Promise<Confirmation> {
    await this.interfaces.remove(toInterfaceNumber(name), query.force === 'true');
    return done(`Interface ${name} deleted successfully.`);
  }
}
