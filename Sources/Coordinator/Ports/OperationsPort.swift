// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// 7443 and the control socket: the operations of the route table, for operators by certificate and for local users by the kernel's word.

import AgentLink
import CtrlExec
import Logging
import NIOCore
import PKI
import Platform
import Transport

enum OperationsPort {
    /// 7443: TLS with the member's certificate. A client certificate is asked for and not demanded; one of another CA ends in the
    /// handshake, its reason in our log.
    static func configuration(
        _ address: ListenAddress, identity: TLSIdentity, clusterRoots: [Certificate], revocations: RevocationList, logger: Logger
    ) -> HTTPListenerConfiguration {
        let policy = TrustPolicy.anyRole(cluster: clusterRoots, isRevoked: { revocations.contains($0) })
        let server = TLSServer(identity: identity, clients: .optional(policy))
        var configuration = HTTPListenerConfiguration(address: address, tls: { server })
        configuration.limits.connectionsPerAddress = 256
        configuration.report = report(to: logger, port: .operations)
        return configuration
    }

    static func controlSocket(_ address: ListenAddress, logger: Logger) -> HTTPListenerConfiguration {
        var configuration = HTTPListenerConfiguration(address: address)
        configuration.report = report(to: logger, port: .controlSocket)
        return configuration
    }

    static func report(to logger: Logger, port: Port) -> @Sendable (ConnectionIncident) -> Void {
        { incident in
            logger.log(.notice, LogLine("connection-refused", ("PORT", port.rawValue), ("PEER", incident.address), ("REASON", incident)))
        }
    }
}

extension PortFront {
    /// What is answered before a request was read to its end.
    func earlyRefusal(on port: Port) -> @Sendable (Int, String) async -> HTTPResponse {
        { status, error in
            var response = PortResponse.failure(status, error)
            if port == .api { response.body = response.body.with(["code": .integer(1)]) }
            response.headers += Self.headers(await member.glance())
            return HTTPResponse(response)
        }
    }

    /// A stranger is refused before a body of his is read.
    func refuseHead(on port: Port) -> @Sendable (HTTPRequest) -> HeadRefusal? {
        { request in
            refusalBeforeBody(PortRequest(request), on: port).map { refusal in
                HeadRefusal {
                    var response = refusal
                    response.headers += Self.headers(await member.glance())
                    return HTTPResponse(response)
                }
            }
        }
    }

    /// Serves one request of a listener.
    func handler(on port: Port) -> HTTPListener.Handler {
        { request, writer in
            let response = await respond(PortRequest(request), on: port)
            await writer.send(HTTPResponse(response))
        }
    }
}

extension PortRequest {
    init(_ request: HTTPRequest) {
        let caller: PortCaller =
            if let credentials = request.unixCredentials {
                .localUser(uid: credentials.uid, groups: [credentials.gid] + credentials.groups)
            } else if let peer = request.peer {
                .certificate(peer.role, peer.serial)
            } else {
                .nobody
            }
        self.init(
            method: request.method, path: request.path, headers: request.headers.map { PortResponse.Header($0.name, $0.value) },
            body: request.body, caller: caller, source: request.remoteAddress.ip ?? "127.0.0.1")
    }
}

extension HTTPResponse {
    init(_ response: PortResponse) {
        // A newline at the end, for people with curl.
        self.init(status: response.status, json: response.body.bytes + [10], headers: response.headers.map { ($0.name, $0.value) })
    }
}
