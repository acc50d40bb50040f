// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What this host is called.

import Glibc

package enum AgentHost {
    /// The fully qualified name if the resolver knows one, else the bare host name. May ask the network.
    package static var name: String {
        var buffer = [CChar](repeating: 0, count: 256)
        guard gethostname(&buffer, buffer.count - 1) == 0 else { return "localhost" }
        let short = String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        var hints = addrinfo()
        hints.ai_flags = AI_CANONNAME
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var results: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(short, nil, &hints, &results) == 0 else { return short }
        defer { freeaddrinfo(results) }
        guard let canonical = results?.pointee.ai_canonname else { return short }
        let full = String(cString: canonical)
        return full.contains(".") && full != "localhost.localdomain" ? full : short
    }
}
