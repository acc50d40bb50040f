// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// 7445: HTTP on the loopback address unless told otherwise, with TLS if it has a certificate; never a client's. Health for load balancers,
// and ctrl-exec's API behind the auth hook, which `HookGate.swift` sees to.

import Logging
import Transport

enum ApiPort {
    static func configuration(_ address: ListenAddress, identity: TLSIdentity?, logger: Logger) -> HTTPListenerConfiguration {
        var configuration = HTTPListenerConfiguration(address: address)
        if let identity { configuration.tls = { TLSServer(identity: identity, clients: .none) } }
        configuration.limits.connectionsPerAddress = 256
        configuration.report = OperationsPort.report(to: logger, port: .api)
        return configuration
    }
}
