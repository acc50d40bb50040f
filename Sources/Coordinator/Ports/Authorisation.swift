// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// From whom a request comes, and whether that one may ask it. Decided anew for every request, from the certificate or the peer
// credentials that the transport has verified and from nothing that the request says. The leader authorises the principal once more
// against its own applied state.

import CtrlExec
import DispatcherState
import PKI

/// The other end of a connection, as the transport saw it.
package enum PortCaller: Hashable, Sendable, CustomStringConvertible {
    /// No certificate, no credentials.
    case nobody
    /// A certificate whose chain leads to the cluster CA.
    case certificate(CertificateRole?, SerialNumber)
    /// The peer credentials of a process on this host.
    case localUser(uid: UInt32, groups: [UInt32] = [])

    /// For the log.
    package var description: String {
        switch self {
        case .nobody: "nobody"
        case .certificate(let role, let serial): "\(role?.description ?? "no role") (\(serial))"
        case .localUser(let uid, _): "uid \(uid)"
        }
    }
}

package enum Authorisation: Hashable, Sendable {
    /// Health routes have no principal.
    case allowed(Principal?)
    /// An operator by its certificate; whether the certificate still stands is in the replicated state.
    case ifOperatorStands(OperatorName, SerialNumber)
    /// On 7445 nobody is known: the auth hook decides.
    case ifHookAllows
    case refused(status: Int, String)

    /// - Parameters:
    ///   - route: what is asked; nil if the port has no such route, which a stranger is not told.
    ///   - cluster: this cluster's id; a role of another cluster is none.
    ///   - owner: the uid as which the member runs.
    ///   - group: the group that may use the control socket; nil: none.
    package static func decide(
        _ caller: PortCaller, route: Route?, port: Port, cluster: ClusterID, owner: UInt32, group: UInt32? = nil
    ) -> Authorisation {
        if let route, route.roles.contains(.anybody) { return .allowed(nil) }
        guard port != .api else { return .ifHookAllows }
        switch caller {
        case .nobody:
            return .refused(status: 401, "no certificate: present an operator's certificate (made by: ced issue-operator NAME --out DIR)")
        case .certificate(let role, let serial):
            guard case .operator(let stated, let text) = role, stated == cluster.description, let name = OperatorName(text),
                route?.roles.contains(.operator) ?? true
            else {
                let owner = role.map { "the certificate of a \($0)" } ?? "a certificate without a role"
                return .refused(status: 403, "not allowed: \(owner) of this cluster's CA is not an operator's certificate")
            }
            return .ifOperatorStands(name, serial)
        case .localUser(let uid, let groups):
            let isOfGroup = group.map(groups.contains) ?? false
            guard uid == 0 || uid == owner || isOfGroup, route?.roles.contains(.localUser) ?? true else {
                let served = "root, uid \(owner)\(group.map { " and group \($0)" } ?? "")"
                return .refused(status: 403, "not allowed: the control socket serves \(served), not uid \(uid)")
            }
            return .allowed(.localUser(uid: uid))
        }
    }
}
