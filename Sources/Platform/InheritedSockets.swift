// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Listening sockets that the service manager opened before it started this process (sd_listen_fds(3)). They are taken once: none is passed
// on to a program that we start, and neither is the word that there are any. Each is looked at before it is used, for the name of a
// descriptor is only what somebody wrote into a unit.

import CSystemd
import Glibc

/// One that was looked at: a stream socket that listens.
package struct InheritedSocket: Hashable, Sendable {
    package enum Address: Hashable, Sendable {
        /// TCP over IPv4 or IPv6, with the port in use.
        case tcp(host: String, port: Int)
        case unix(path: String)
    }
    package let descriptor: Int32
    /// `FileDescriptorName=` of its socket unit.
    package let name: String
    package let address: Address

    package init(descriptor: Int32, name: String, address: Address) {
        self.descriptor = descriptor
        self.name = name
        self.address = address
    }
}

package enum InheritedSockets {
    /// What a socket of some name must be.
    package enum Family: String, Hashable, Sendable {
        case tcp = "a TCP socket"
        case unix = "a unix socket"
    }

    /// No restart mends it: a unit is wrong.
    package struct Refusal: Error, Hashable, Sendable, CustomStringConvertible {
        package let description: String
        init(_ description: String) { self.description = description }
    }

    /// Takes the sockets that were passed to this very process; empty without socket activation, or if they were meant for another process.
    /// Call it before other threads read the environment.
    ///
    /// - Parameter known: the names that this program knows, each with what it must be.
    package static func take(known: [String: Family]) throws(Refusal) -> [InheritedSocket] {
        var names: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?
        // Looks at LISTEN_PID, sets close-on-exec on all of them, and removes the variables.
        let count = sd_listen_fds_with_names(1, &names)
        guard count >= 0 else { throw Refusal("cannot take the sockets of the service manager: \(systemReason(-count))") }
        defer {
            for place in 0..<Int(count) { free(names?[place]) }
            free(names)
        }
        let passed = (0..<Int(count)).map { place in
            (descriptor: SD_LISTEN_FDS_START + Int32(place), name: names?[place].map { String(cString: $0) } ?? "unknown")
        }
        return try check(passed, known: known)
    }

    /// Looks at each: its name, that no other has that name, and what the kernel says of it.
    static func check(_ passed: [(descriptor: Int32, name: String)], known: [String: Family]) throws(Refusal) -> [InheritedSocket] {
        var sockets: [InheritedSocket] = []
        for (descriptor, name) in passed {
            guard let family = known[name] else {
                throw Refusal(
                    "the service manager passed a socket named '\(name)', which has no use here (FileDescriptorName= in its socket unit must be "
                        + "one of \(known.keys.sorted().joined(separator: ", ")))")
            }
            guard !sockets.contains(where: { $0.name == name }) else {
                throw Refusal(
                    "the service manager passed two sockets named '\(name)' (one ListenStream= in one socket unit; [::]:PORT serves IPv4 as well)"
                )
            }
            sockets.append(InheritedSocket(descriptor: descriptor, name: name, address: try address(of: descriptor, name, family)))
        }
        return sockets
    }

    private static func address(of descriptor: Int32, _ name: String, _ family: Family) throws(Refusal) -> InheritedSocket.Address {
        func refusal(_ reason: String) -> Refusal {
            Refusal("the inherited socket '\(name)' (descriptor \(descriptor)) must be \(family.rawValue) that listens: \(reason)")
        }
        guard let domain = option(SO_DOMAIN, of: descriptor), let type = option(SO_TYPE, of: descriptor),
            let listens = option(SO_ACCEPTCONN, of: descriptor), let transport = option(SO_PROTOCOL, of: descriptor)
        else { throw refusal(systemReason(errno)) }
        guard type == Int32(SOCK_STREAM.rawValue) else { throw refusal("it is no stream socket (ListenStream= in its socket unit)") }
        guard listens == 1 else { throw refusal("it is a connection (Accept=no in its socket unit)") }
        switch (family, domain) {
        case (.tcp, AF_INET), (.tcp, AF_INET6):
            guard transport == Int32(IPPROTO_TCP) else { throw refusal("it speaks another protocol than TCP") }
        case (.unix, AF_UNIX): break
        default: throw refusal("it is of another address family")
        }
        guard let address = address(of: descriptor) else { throw refusal("it has no address") }
        return address
    }

    private static func option(_ number: Int32, of descriptor: Int32) -> Int32? {
        var value: Int32 = 0
        var size = socklen_t(MemoryLayout<Int32>.size)
        return getsockopt(descriptor, SOL_SOCKET, number, &value, &size) == 0 ? value : nil
    }

    /// What a socket is bound to; nil if it is to nothing.
    package static func address(of descriptor: Int32) -> InheritedSocket.Address? {
        var storage = sockaddr_storage()
        var size = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let isKnown = withUnsafeMutablePointer(to: &storage) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &size) == 0 }
        }
        guard isKnown else { return nil }
        switch Int32(storage.ss_family) {
        case AF_UNIX:
            let path = withUnsafeBytes(of: storage) { bytes in
                String(decoding: bytes[2..<max(2, min(Int(size), bytes.count))].prefix { $0 != 0 }, as: UTF8.self)
            }
            // An abstract name has no file whose owner and mode could say who may connect.
            return path.isEmpty ? nil : .unix(path: path)
        case AF_INET, AF_INET6:
            var host = [CChar](repeating: 0, count: Int(NI_MAXHOST))
            var service = [CChar](repeating: 0, count: Int(NI_MAXSERV))
            let named = withUnsafePointer(to: &storage) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    getnameinfo(
                        $0, size, &host, socklen_t(host.count), &service, socklen_t(service.count), NI_NUMERICHOST | NI_NUMERICSERV)
                }
            }
            guard named == 0, let port = Int(text(service)) else { return nil }
            return .tcp(host: text(host), port: port)
        default: return nil
        }
    }

    private static func text(_ characters: [CChar]) -> String {
        String(decoding: characters.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    }
}

extension InheritedSocket.Address: CustomStringConvertible {
    package var description: String {
        switch self {
        case .tcp(let host, let port): "\(host.contains(":") ? "[\(host)]" : host):\(port)"
        case .unix(let path): path
        }
    }
}
