import type { InstallRequest as Installation } from '../../domain/system/setup.service.js';
import { type InstallRequest, installDefaults } from './install.dto.js';

export function toInstallation(request: InstallRequest): Installation {
  return {
    serverIp: request.server_ip.trim(),
    listenPort: request.wg_port ?? installDefaults.wg_port,
    address: request.wg_address_range ?? installDefaults.wg_address_range,
    dns: request.wg_dns ?? installDefaults.wg_dns,
    adminUser: request.admin_user ?? installDefaults.admin_user,
    adminPassword: request.admin_password ?? installDefaults.admin_password,
  };
}
