// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What is asked of a socket that the service manager passes, with real sockets.

import Glibc
import Testing

@testable import Platform

@Suite("Inherited sockets", .serialized)
struct InheritedSocketTests {
    private static let known: [String: InheritedSockets.Family] = ["operations": .tcp, "control": .unix]

    /// Closed with its last owner.
    private final class Socket: Sendable {
        let number: Int32
        init(_ domain: Int32, _ type: __socket_type) { number = socket(domain, Int32(type.rawValue), 0) }
        deinit { close(number) }

        func bindLoopback() throws {
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
            let result = withUnsafePointer(to: &address) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { Glibc.bind(number, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
            }
            try #require(result == 0)
        }
        /// An empty path: no name at all.
        func bind(to path: String) throws {
            var address = sockaddr_un()
            address.sun_family = sa_family_t(AF_UNIX)
            withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
            let size = path.isEmpty ? MemoryLayout<sa_family_t>.size : MemoryLayout<sockaddr_un>.size
            let result = withUnsafePointer(to: &address) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { Glibc.bind(number, $0, socklen_t(size)) }
            }
            try #require(result == 0)
        }
    }

    private func tcp(listens: Bool = true) throws -> Socket {
        let socket = Socket(AF_INET, SOCK_STREAM)
        try socket.bindLoopback()
        if listens { try #require(listen(socket.number, 1) == 0) }
        return socket
    }

    private func refusal(_ descriptor: Int32, as name: String) -> String? {
        #expect(throws: InheritedSockets.Refusal.self) { try InheritedSockets.check([(descriptor, name)], known: Self.known) }?.description
    }

    @Test("are taken with their names and with what they are bound to")
    func taken() throws {
        let directory = TemporaryDirectory()
        let (operations, control) = (try tcp(), Socket(AF_UNIX, SOCK_STREAM))
        try control.bind(to: directory.path + "/ced.sock")
        try #require(listen(control.number, 1) == 0)
        let sockets = try InheritedSockets.check([(operations.number, "operations"), (control.number, "control")], known: Self.known)
        #expect(sockets.map(\.name) == ["operations", "control"])
        guard case .tcp("127.0.0.1", let port) = sockets[0].address else {
            Issue.record("\(sockets[0].address)")
            return
        }
        #expect(port > 0)
        #expect(sockets[1].address == .unix(path: directory.path + "/ced.sock"))
    }

    @Test("of an unknown name are refused, with the names that are known")
    func unknownName() throws {
        let socket = try tcp()
        let said = refusal(socket.number, as: "operation")
        #expect(said?.contains("'operation', which has no use here") == true, "\(said ?? "")")
        #expect(said?.contains("one of control, operations") == true, "\(said ?? "")")
    }

    @Test("of one name twice are refused")
    func twice() throws {
        let (first, second) = (try tcp(), try tcp())
        let error = #expect(throws: InheritedSockets.Refusal.self) {
            try InheritedSockets.check([(first.number, "operations"), (second.number, "operations")], known: Self.known)
        }
        #expect(error?.description.contains("two sockets named 'operations'") == true)
    }

    @Test("that are something else are refused, with what they should be")
    func wrongKind() throws {
        let directory = TemporaryDirectory()
        let datagrams = Socket(AF_INET, SOCK_DGRAM)
        try datagrams.bindLoopback()
        #expect(refusal(datagrams.number, as: "operations")?.contains("it is no stream socket") == true)
        let idle = try tcp(listens: false)
        #expect(refusal(idle.number, as: "operations")?.contains("it is a connection (Accept=no") == true)
        let listening = try tcp()
        #expect(
            refusal(listening.number, as: "control")?.contains("must be a unix socket that listens: it is of another address family")
                == true)
        let local = Socket(AF_UNIX, SOCK_STREAM)
        try local.bind(to: directory.path + "/s")
        try #require(listen(local.number, 1) == 0)
        #expect(refusal(local.number, as: "operations")?.contains("another address family") == true)
    }

    @Test("whose descriptor is closed, or no socket, are refused")
    func noSocket() {
        #expect(refusal(1 << 20, as: "operations")?.contains("bad file descriptor") == true)
        let file = open("/dev/null", O_RDONLY | O_CLOEXEC)
        defer { close(file) }
        #expect(refusal(file, as: "operations")?.contains("socket operation on non-socket") == true)
    }

    @Test("with an abstract name are refused: no file says who may connect")
    func abstractName() throws {
        let socket = Socket(AF_UNIX, SOCK_STREAM)
        // The kernel chooses an abstract name.
        try socket.bind(to: "")
        try #require(listen(socket.number, 1) == 0)
        #expect(refusal(socket.number, as: "control")?.contains("it has no address") == true)
    }

    @Test("that were meant for another process are none of ours, and without any there are none")
    func othersSockets() throws {
        #expect(try InheritedSockets.take(known: Self.known) == [])
        setenv("LISTEN_FDS", "2", 1)
        setenv("LISTEN_PID", "1", 1)
        setenv("LISTEN_FDNAMES", "operations:control", 1)
        #expect(try InheritedSockets.take(known: Self.known) == [])
        #expect(getenv("LISTEN_FDS") == nil, "what we start must not take them for its own")
    }
}
