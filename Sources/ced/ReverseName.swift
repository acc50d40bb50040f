// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The name that DNS has for an address, shown to whoever decides on a pairing (protocol page, 7.9). It proves nothing: it is confirmed if the
// name leads back to the address.

import Glibc
import NIOPosix

struct ReverseName: Hashable, Sendable {
    let name: String
    let isConfirmed: Bool
    var text: String { "\(name) (\(isConfirmed ? "confirmed" : "not confirmed"))" }

    private static let patience = Duration.seconds(2)
    /// A resolver blocks for as long as it likes; nobody waits for it beyond our patience.
    private static let resolvers = NIOThreadPool(numberOfThreads: 4)

    /// By address; what was not found out in two seconds is left out.
    static func look(up addresses: [String]) async -> [String: ReverseName] {
        resolvers.start()
        let (stream, continuation) = AsyncStream.makeStream(of: (String, ReverseName?).self)
        let asked = Set(addresses)
        for address in asked { resolvers.submit { _ in continuation.yield((address, resolve(address))) } }
        let timer = Task {
            // A cancelled sleep ends a stream that nobody reads any more.
            try? await Task.sleep(for: patience)
            continuation.finish()
        }
        defer { timer.cancel() }
        var found: [String: ReverseName] = [:]
        var answers = 0
        for await (address, name) in stream {
            found[address] = name
            answers += 1
            if answers == asked.count { break }
        }
        return found
    }

    private static func resolve(_ address: String) -> ReverseName? {
        var hints = addrinfo()
        hints.ai_flags = AI_NUMERICHOST
        guard let literal = lookUp(address, hints) else { return nil }
        defer { freeaddrinfo(literal) }
        var host = [CChar](repeating: 0, count: Int(NI_MAXHOST))
        guard
            getnameinfo(literal.pointee.ai_addr, literal.pointee.ai_addrlen, &host, socklen_t(host.count), nil, 0, NI_NAMEREQD) == 0
        else { return nil }
        let name = String(decoding: host.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
        // It is shown on a terminal, and whoever rules the reverse zone chose it.
        guard name.utf8.allSatisfy({ (33...126).contains($0) }) else { return nil }
        guard let forward = lookUp(name, addrinfo()) else { return ReverseName(name: name, isConfirmed: false) }
        defer { freeaddrinfo(forward) }
        var isConfirmed = false
        var entry: UnsafeMutablePointer<addrinfo>? = forward
        while let current = entry {
            isConfirmed = isConfirmed || numeric(current) == numeric(literal)
            entry = current.pointee.ai_next
        }
        return ReverseName(name: name, isConfirmed: isConfirmed)
    }

    private static func lookUp(_ name: String, _ hints: addrinfo) -> UnsafeMutablePointer<addrinfo>? {
        var hints = hints
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var result: UnsafeMutablePointer<addrinfo>?
        return getaddrinfo(name, nil, &hints, &result) == 0 ? result : nil
    }

    private static func numeric(_ entry: UnsafeMutablePointer<addrinfo>) -> String {
        var host = [CChar](repeating: 0, count: Int(NI_MAXHOST))
        guard getnameinfo(entry.pointee.ai_addr, entry.pointee.ai_addrlen, &host, socklen_t(host.count), nil, 0, NI_NUMERICHOST) == 0 else {
            return ""
        }
        return String(decoding: host.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    }
}
