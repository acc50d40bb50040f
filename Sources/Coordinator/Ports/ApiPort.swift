// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// 7445: plain HTTP on the loopback address. Health for load balancers; everything else is refused in ctrl-exec's words until a hook is
// configured, which `Authorisation` sees to.

import Logging
import Transport

enum ApiPort {
    static func configuration(_ address: ListenAddress, logger: Logger) -> HTTPListenerConfiguration {
        var configuration = HTTPListenerConfiguration(address: address)
        configuration.limits.connectionsPerAddress = 256
        configuration.report = OperationsPort.report(to: logger, port: .api)
        return configuration
    }
}
