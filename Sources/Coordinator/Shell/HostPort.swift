// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// An address as people write it: HOST:PORT. Resolving it is left to whoever connects.

/// `127.0.0.1:7443`, `[::1]:7443`, `ced-a.example.net:7446`. Port 0 asks the system for a free one.
package struct HostPort: Hashable, Sendable, CustomStringConvertible {
    package let host: String
    package let port: Int

    package init(host: String, port: Int) {
        self.host = host
        self.port = port
    }

    /// Nil unless there is a host of 1 to 253 bytes without white space and a port of 0 to 65535; an IPv6 address stands in brackets.
    package init?(_ text: String) {
        guard let colon = text.utf8.lastIndex(of: UInt8(ascii: ":")) else { return nil }
        var host = text[..<colon]
        let digits = text[text.utf8.index(after: colon)...]
        guard !digits.isEmpty, digits.utf8.allSatisfy({ (48...57).contains($0) }), let port = Int(digits), port <= 65_535 else {
            return nil
        }
        if host.first == "[", host.last == "]" {
            host = host.dropFirst().dropLast()
        } else if host.utf8.contains(UInt8(ascii: ":")) {
            return nil
        }
        guard (1...253).contains(host.utf8.count), host.utf8.allSatisfy({ (33...126).contains($0) && $0 != 44 && $0 != 61 }) else {
            return nil
        }
        self.host = String(host)
        self.port = port
    }

    package var description: String { host.utf8.contains(UInt8(ascii: ":")) ? "[\(host)]:\(port)" : "\(host):\(port)" }
}
