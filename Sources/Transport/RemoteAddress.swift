// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Who is at the other end, as an address: for limits by address, allow lists and log lines. Never proof of anything.

import NIOCore

package struct RemoteAddress: Hashable, Sendable, CustomStringConvertible {
    /// In numbers; an IPv4 address reached through an IPv6 socket is written as the IPv4 address that it is. Nil for a unix socket.
    package let ip: String?
    package let port: Int?

    package init(ip: String?, port: Int?) {
        self.ip = ip.map { $0.lowercased().hasPrefix("::ffff:") && $0.contains(".") ? String($0.dropFirst(7)) : $0 }
        self.port = port
    }

    package init(_ address: SocketAddress?) { self.init(ip: address?.ipAddress, port: address?.port) }

    package var description: String {
        guard let ip else { return "a local process" }
        guard let port else { return ip }
        return ip.contains(":") ? "[\(ip)]:\(port)" : "\(ip):\(port)"
    }
}

/// The process at the other end of a unix socket, as the kernel says (`SO_PEERCRED`).
package struct UnixCredentials: Hashable, Sendable {
    package let pid: Int32
    package let uid: UInt32
    package let gid: UInt32
    /// The further groups of its user (`SO_PEERGROUPS`); empty if there are more than fit.
    package let groups: [UInt32]

    package init(pid: Int32, uid: UInt32, gid: UInt32, groups: [UInt32] = []) {
        self.pid = pid
        self.uid = uid
        self.gid = gid
        self.groups = groups
    }
}
