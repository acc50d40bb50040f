// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Whether an address could be listened on now, or dialled from: tried, and let go of at once.

import Glibc

package enum BindTrial: Hashable, Sendable {
    case free
    case inUse
    /// Why not, in the operating system's words.
    case impossible(String)

    /// Binds to the address; with port 0 it tries the host only. Names are looked up, which may take a while.
    package init(host: String, port: Int) {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        hints.ai_flags = AI_PASSIVE
        var found: UnsafeMutablePointer<addrinfo>?
        let status = getaddrinfo(host, "\(port)", &hints, &found)
        guard status == 0, let first = found else {
            self = .impossible(gai_strerror(status).map { String(cString: $0).lowercased() } ?? "unknown host")
            return
        }
        defer { freeaddrinfo(found) }
        let descriptor = Descriptor(socket(first.pointee.ai_family, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0))
        guard descriptor.number >= 0 else {
            self = .impossible(systemReason(errno))
            return
        }
        // As our listeners do: connections that have just ended do not count.
        var yes: Int32 = 1
        setsockopt(descriptor.number, SOL_SOCKET, SO_REUSEADDR, &yes, socklen_t(MemoryLayout<Int32>.size))
        if bind(descriptor.number, first.pointee.ai_addr, first.pointee.ai_addrlen) != 0 {
            self = errno == EADDRINUSE ? .inUse : .impossible(systemReason(errno))
        } else {
            self = .free
        }
    }
}
