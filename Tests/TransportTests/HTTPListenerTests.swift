// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What a port says, what it refuses, and how long it waits.

import Foundation
import NIOCore
import NIOPosix
import PKI
import Testing

@testable import Transport

@Suite("HTTP ports", .timeLimit(.minutes(1))) struct HTTPListenerTests {
    @Test("a response has the bytes of the original's")
    func bytes() async throws {
        let port = try await TestListener()
        let answer = try await raw(["POST /ping HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}"], to: port.port)
        #expect(answer == "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{\"ok\":true}")
        await port.stop()
    }

    @Test("a request in pieces, with the headers of LWP, arrives whole")
    func reads() async throws {
        let port = try await TestListener()
        _ = try await raw(
            [
                "POST /pi", "ng?x=1 HTTP/1.1\r\nTE: deflate,gzip;q=0.3\r\nConnection: TE, close\r\nHost: h:1\r\nCONTENT-",
                "length: 5\r\nX-A: 1\r\nx-a: 2\r\n\r\nab",
                "cde",
            ], to: port.port)
        let request = try #require(port.requests.value.first)
        #expect(request.method == "POST")
        #expect(request.path == "/ping?x=1")
        #expect(request.header("X-a") == "2")
        #expect(request.header("content-length") == "5")
        #expect(request.body == Array("abcde".utf8))
        #expect(request.peer == nil)
        await port.stop()
    }

    @Test("a chunked request is read within the limit of a body")
    func chunked() async throws {
        let port = try await TestListener(configure: { $0.limits.bodyBytes = 8 })
        let head = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        #expect(try await raw([head + "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"], to: port.port).hasPrefix("HTTP/1.0 200 OK\r\n"))
        #expect(port.requests.value.first?.body == Array("abcde".utf8))
        let answer = try await raw([head + "3\r\nabc\r\n6\r\ndefghi\r\n"], to: port.port)
        #expect(answer.hasPrefix("HTTP/1.0 413 Content Too Large\r\n") && answer.hasSuffix("{\"error\":\"request too large\"}"))
        #expect(port.requests.value.count == 1)
        await port.stop()
    }

    @Test("32 headers pass and the 33rd is too many")
    func headers() async throws {
        let port = try await TestListener()
        func request(_ count: Int) -> String { "GET / HTTP/1.0\r\n" + (0..<count).map { "X-\($0): y\r\n" }.joined() + "\r\n" }
        #expect(try await raw([request(32)], to: port.port).hasPrefix("HTTP/1.0 200 OK\r\n"))
        #expect(
            try await raw([request(33)], to: port.port)
                == "HTTP/1.0 431 Request Header Fields Too Large\r\nContent-Type: application/json\r\nContent-Length: 28\r\n\r\n{\"error\":\"too many headers\"}"
        )
        #expect(port.requests.value.count == 1)
        await port.stop()
    }

    @Test("a header, or a path, without end is too large")
    func headerSize() async throws {
        let port = try await TestListener(configure: { $0.limits.headerBytes = 1000 })
        for request in ["GET / HTTP/1.0\r\nX: \(String(repeating: "y", count: 2000))", "GET /\(String(repeating: "y", count: 2000))"] {
            #expect(try await raw([request], to: port.port).hasPrefix("HTTP/1.0 431 "))
        }
        await port.stop()
    }

    @Test("a body over the limit is refused before it is read")
    func bodySize() async throws {
        let port = try await TestListener()
        #expect(
            try await raw(["POST /run HTTP/1.0\r\nContent-Length: 1048577\r\n\r\n"], to: port.port)
                == "HTTP/1.0 413 Content Too Large\r\nContent-Type: application/json\r\nContent-Length: 29\r\n\r\n{\"error\":\"request too large\"}"
        )
        #expect(await port.nextIncident()?.kind == .tooLarge)
        let full = String(repeating: "x", count: 1_048_576)
        #expect(
            try await raw(["POST /run HTTP/1.0\r\nContent-Length: 1048576\r\n\r\n" + full], to: port.port).hasPrefix("HTTP/1.0 200 OK\r\n"))
        #expect(port.requests.value.count == 1)
        await port.stop()
    }

    @Test(
        "what is not HTTP is a bad request",
        arguments: [
            "nonsense\r\n\r\n", "GET / HTTP/3.0\r\n\r\n", "GET / HTTP/1.0\r\nContent-Length: -1\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc", "GET / HTTP/1.0\r\nno colon\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        ])
    func malformed(request: String) async throws {
        let port = try await TestListener()
        let answer = try await raw([request], to: port.port)
        #expect(answer.hasPrefix("HTTP/1.0 400 Bad Request\r\n") && answer.hasSuffix("{\"error\":\"bad request\"}"), "\(answer)")
        #expect(port.requests.value.isEmpty)
        #expect(await port.nextIncident()?.kind == .malformed)
        await port.stop()
    }

    @Test(
        "a client that does not finish its request is closed at the deadline, without an answer",
        arguments: ["", "GET / HTT", "POST / HTTP/1.0\r\nContent-Length: 5\r\n\r\nab"])
    func slowRequest(beginning: String) async throws {
        let port = try await TestListener(configure: { $0.limits.requestTimeout = .milliseconds(50) })
        #expect(try await raw([beginning], to: port.port) == "")
        #expect(await port.nextIncident()?.kind == .requestTimedOut)
        await port.stop()
    }

    @Test(
        "whom the head refuses is answered at once, and his body is not waited for",
        arguments: ["Content-Length: 1000000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n"])
    func refusedHead(announcement: String) async throws {
        let port = try await TestListener(configure: { $0.refuseHead = { $0.path == "/run" ? HeadRefusal(401, "no certificate") : nil } })
        let answer = try await raw(["POST /run HTTP/1.1\r\n" + announcement], to: port.port)
        #expect(answer.hasPrefix("HTTP/1.0 401 ") && answer.hasSuffix("{\"error\":\"no certificate\"}"), "\(answer)")
        #expect(port.requests.value.isEmpty)
        // Others are read as ever.
        #expect(try await raw(["POST /ping HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"], to: port.port).hasPrefix("HTTP/1.0 200 "))
        await port.stop()
    }

    @Test("an early refusal is said in the port's own words where it has some")
    func ownRefusal() async throws {
        let port = try await TestListener(configure: {
            $0.earlyRefusal = { HTTPResponse(status: $0, json: Array("{\"no\":\"\($1)\"}".utf8), headers: [("X-Member", "a")]) }
        })
        let answer = try await raw(["nonsense\r\n\r\n"], to: port.port)
        #expect(answer.hasPrefix("HTTP/1.0 400 ") && answer.contains("\r\nX-Member: a\r\n") && answer.hasSuffix("{\"no\":\"bad request\"}"))
        await port.stop()
    }

    @Test("bodies take so much memory together and no more, until they are answered")
    func bodiesTogether() async throws {
        let (begun, begins) = AsyncStream.makeStream(of: Void.self)
        let (ended, end) = AsyncStream.makeStream(of: Void.self)
        let port = try await TestListener(
            configure: { $0.limits.bodiesBytes = 1_000 },
            handler: { request, writer in
                if request.path == "/long" {
                    begins.yield()
                    for await _ in ended { break }
                }
                await writer.send(HTTPResponse(status: 200, json: request.body))
            })
        let (small, large) = (String(repeating: "s", count: 200), String(repeating: "l", count: 900))
        async let first = raw(["POST /long HTTP/1.1\r\nContent-Length: 900\r\n\r\n" + large], to: port.port)
        for await _ in begun { break }
        let second = "POST /short HTTP/1.1\r\nContent-Length: 200\r\n\r\n" + small
        #expect(try await raw([second], to: port.port).hasPrefix("HTTP/1.0 503 "))
        #expect(await port.nextIncident()?.kind == .noMemory)
        // What needs none is answered.
        #expect(try await raw(["GET / HTTP/1.1\r\n\r\n"], to: port.port).hasPrefix("HTTP/1.0 200 "))
        end.finish()
        #expect(try await first.hasSuffix(large))
        // The place is free when the handler has returned, which the client need not have waited for.
        var answer = try await raw([second], to: port.port)
        while answer.hasPrefix("HTTP/1.0 503 ") { answer = try await raw([second], to: port.port) }
        #expect(answer.hasSuffix(small))
        await port.stop()
    }

    @Test("a request that is worked on keeps its place, also when its client is gone")
    func workKeepsItsPlace() async throws {
        let (begun, begins) = AsyncStream.makeStream(of: Void.self)
        let (ended, ends) = AsyncStream.makeStream(of: Void.self)
        let isFirst = Box(true)
        let port = try await TestListener(
            configure: { $0.limits.connections = 1 },
            handler: { _, writer in
                guard isFirst.value else { return _ = await writer.send(HTTPResponse(status: 200, json: [])) }
                isFirst.value = false
                await writer.closed
                begins.yield()
                for await _ in ended { break }
            })
        let gone = try await ClientBootstrap(group: group).connect(host: "127.0.0.1", port: port.port).get()
        try await gone.writeAndFlush(ByteBuffer(string: "GET / HTTP/1.0\r\n\r\n"))
        try await gone.close()
        for await _ in begun { break }
        #expect(try await raw(["GET / HTTP/1.0\r\n\r\n"], to: port.port) == "")
        #expect(await port.nextIncident()?.kind == .tooManyConnections)
        ends.yield()
        // The place is free as soon as the handler has returned, which nobody tells us.
        while try await raw(["GET / HTTP/1.0\r\n\r\n"], to: port.port) == "" { await Task.yield() }
        await port.stop()
    }

    @Test("a client that does not finish its handshake is closed at the deadline")
    func slowHandshake() async throws {
        let fleet = try Fleet()
        let server = TLSServer(identity: try fleet.member(), clients: .none)
        let port = try await TestListener(tls: { server }, configure: { $0.limits.handshakeTimeout = .milliseconds(50) })
        #expect(try await raw(["\u{16}\u{3}"], to: port.port) == "")
        #expect(await port.nextIncident()?.kind == .handshakeFailed(.timedOut))
        await port.stop()
    }

    @Test("a connection that closes without a byte is nobody's concern, and one that speaks plain HTTP to TLS is reported")
    func probes() async throws {
        let fleet = try Fleet()
        let server = TLSServer(identity: try fleet.member(), clients: .none)
        let port = try await TestListener(tls: { server })
        for _ in 0..<5 {
            let channel = try await ClientBootstrap(group: group).connect(host: "127.0.0.1", port: port.port).get()
            try await channel.close()
        }
        _ = try await raw(["GET / HTTP/1.0\r\n\r\n"], to: port.port)
        let incident = try #require(await port.nextIncident())
        #expect(incident.description.contains("http request"), "the first that is told is not a probe: \(incident)")
        #expect(try await client(nil, trusting: fleet.members()).exchange(ping, with: local(port.port)).status == 200)
        await port.stop()
    }

    @Test("a port that has no identity to present says so and lives")
    func noIdentity() async throws {
        let port = try await TestListener(tls: { throw PKIFailure("the key is sealed") })
        #expect(try await raw([], to: port.port) == "")
        #expect(await port.nextIncident()?.description.contains("the key is sealed") == true)
        await port.stop()
    }

    @Test("two responses go out on one connection, each when it is ready")
    func twoResponses() async throws {
        let fleet = try Fleet()
        let server = TLSServer(identity: try fleet.member(), clients: .none)
        let (decisions, decide) = AsyncStream.makeStream(of: String.self)
        let port = try await TestListener.answering(tls: { server }) { _, writer in
            await writer.send(HTTPResponse(status: 200, json: Array("first".utf8)), last: false)
            for await decision in decisions { return _ = await writer.send(HTTPResponse(status: 200, json: Array(decision.utf8))) }
        }
        var received: [String] = []
        for try await reply in client(nil, trusting: .anyone).responses(to: ping, from: local(port.port), count: 2) {
            received.append(String(decoding: reply.body, as: UTF8.self))
            // Nothing but the first response lets the second go.
            if received.count == 1 { decide.yield("second") }
        }
        #expect(received == ["first", "second"])
        await port.stop()
    }

    @Test("a handler hears that its client has gone, and cannot send to it any more")
    func clientGoes() async throws {
        let fleet = try Fleet()
        let server = TLSServer(identity: try fleet.member(), clients: .none)
        let (sent, tell) = AsyncStream.makeStream(of: Bool.self)
        let port = try await TestListener.answering(tls: { server }) { _, writer in
            await writer.send(HTTPResponse(status: 200, json: []), last: false)
            await writer.closed
            tell.yield(await writer.send(HTTPResponse(status: 200, json: [])))
        }
        for try await _ in client(nil, trusting: .anyone).responses(to: ping, from: local(port.port), count: 2) { break }
        #expect(await sent.first { _ in true } == false)
        await port.stop()
    }

    @Test("a handler that returns without an answer closes the connection")
    func noAnswer() async throws {
        let port = try await TestListener(handler: { _, _ in })
        #expect(try await raw(["GET / HTTP/1.0\r\n\r\n"], to: port.port) == "")
        await port.stop()
    }

    @Test("HEAD is answered with a head, extra headers stay in their line")
    func head() async throws {
        let port = try await TestListener(handler: { _, writer in
            await writer.send(HTTPResponse(status: 503, json: Array("{}".utf8), headers: [("X-Ced-Leader", "b\r\nX-Evil: 1")]))
        })
        #expect(
            try await raw(["HEAD / HTTP/1.0\r\n\r\n"], to: port.port)
                == "HTTP/1.0 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: 2\r\nX-Ced-Leader: b  X-Evil: 1\r\n\r\n"
        )
        await port.stop()
    }

    @Test("connections over the limits, and from addresses that are not admitted, are closed without a byte")
    func connectionLimits() async throws {
        let port = try await TestListener(configure: { $0.limits.connectionsPerAddress = 1 })
        let first = try await ClientBootstrap(group: group).connect(host: "127.0.0.1", port: port.port).get()
        // Connections are taken in on several loops, the second may be quicker than the first.
        for _ in 0..<1_000_000 where port.listener.connectionCount == 0 { await Task.yield() }
        #expect(try await raw([], to: port.port) == "")
        #expect(await port.nextIncident()?.kind == .tooManyConnections)
        let elsewhere = plainClient { $0.bindAddress = "127.0.0.2" }
        #expect(try await elsewhere.exchange(ping, with: local(port.port)).status == 200)
        #expect(port.requests.value.first?.remoteAddress.ip == "127.0.0.2")
        try await first.close()
        await port.stop()

        let closed = try await TestListener(configure: { $0.admitAddress = { $0.ip != "127.0.0.1" } })
        #expect(try await raw([], to: closed.port) == "")
        #expect(try await elsewhere.exchange(ping, with: local(closed.port)).status == 200)
        await closed.stop()
    }

    @Test("a graceful stop lets a request in hand finish, closes the idle, and frees the port")
    func stops() async throws {
        let (started, tellStarted) = AsyncStream.makeStream(of: Void.self)
        let (finishes, finish) = AsyncStream.makeStream(of: Void.self)
        let port = try await TestListener.answering { _, writer in
            tellStarted.yield(())
            for await _ in finishes { break }
            await writer.send(HTTPResponse(status: 200, json: Array("done".utf8)))
        }
        let number = port.port
        async let idle = raw([], to: number)
        async let busy = plainClient().exchange(ping, with: local(number))
        for await _ in started { break }
        async let stopped: Void = port.listener.stop(drain: .seconds(30))
        #expect(try await idle == "")
        finish.yield(())
        #expect(try await busy.body == Array("done".utf8))
        await stopped
        #expect(port.listener.connectionCount == 0)
        #expect(await plainClient().failure(with: local(number)) == .refused)
    }

    @Test("a graceful stop answers a request that is on its way")
    func stopsAfterTheRest() async throws {
        let port = try await TestListener(configure: { $0.limits.stopGrace = .seconds(30) })
        let number = port.port
        let stopping = Box<Task<Void, Never>?>(nil)
        let answer = try await raw(["POST /ping HTTP/1.1\r\nContent-Length: 2\r\n\r\n{", "}"], to: number) {
            // Connected and begun; now it is stopped, and the rest comes when nobody else is let in any more.
            while port.listener.connectionCount == 0 { await Task.yield() }
            stopping.change { $0 = Task { await port.listener.stop(drain: .seconds(30)) } }
            while await plainClient().failure(with: local(number)) != .refused { await Task.yield() }
        }
        #expect(answer.hasPrefix("HTTP/1.0 200 "))
        await stopping.value?.value
        #expect(port.listener.connectionCount == 0)
    }

    @Test("a graceful stop does not wait for ever")
    func stopsInTime() async throws {
        let port = try await TestListener.answering { _, writer in
            await writer.send(HTTPResponse(status: 200, json: Array("first".utf8)), last: false)
            await writer.closed
        }
        var replies = plainClient().responses(to: ping, from: local(port.port), count: 2).makeAsyncIterator()
        #expect(try await replies.next()?.body == Array("first".utf8))
        await port.listener.stop(drain: .milliseconds(20))
        #expect(port.listener.connectionCount == 0)
        await #expect(throws: ExchangeFailure.closedWithoutResponse(requestSent: true)) { try await replies.next() }
    }

    @Test("an address in use is an error for people")
    func inUse() async throws {
        let port = try await TestListener()
        let address = ListenAddress.tcp(host: "127.0.0.1", port: port.port)
        let failure = await #expect(throws: ListenFailure.self) { _ = try await TestListener(address: address) }
        #expect(failure?.isInUse == true)
        #expect(failure?.description.contains("127.0.0.1:\(port.port): the address is in use") == true)
        await port.stop()
    }

    @Test("a unix socket has its mode, knows the process at the other end, and replaces what a dead owner left")
    func unixSocket() async throws {
        let scratch = try Scratch()
        let path = scratch.path + "/s"
        let address = ListenAddress.unix(path: path, mode: 0o660, group: getgid())
        let dead = try await TestListener(address: address)
        await dead.stop()
        let port = try await TestListener(address: address)
        var status = stat()
        #expect(stat(path, &status) == 0)
        #expect(status.st_mode & 0o777 == 0o660)
        #expect(try await plainClient().exchange(ping, with: .unix(path: path)).status == 200)
        let credentials = try #require(port.requests.value.first?.unixCredentials)
        #expect(credentials.pid == getpid() && credentials.uid == getuid() && credentials.gid == getgid())
        var groups = [gid_t](repeating: 0, count: 256)
        groups = Array(groups[..<Int(getgroups(256, &groups))])
        #expect(Set(credentials.groups) == Set(groups.filter { $0 != 0 }))
        // A second owner does not take the living one's place.
        await #expect { _ = try await TestListener(address: address) } throws: { ($0 as? ListenFailure)?.isInUse == true }
        #expect(try await plainClient().exchange(ping, with: .unix(path: path)).status == 200)
        #expect(port.requests.value.first?.remoteAddress.ip == nil)
        await port.stop()

        try scratch.write([1], "file")
        await #expect(throws: ListenFailure.self) {
            _ = try await TestListener(address: .unix(path: scratch.path + "/file", mode: 0o600, group: nil))
        }
        #expect(try scratch.read("file") == [1])
    }

    @Test("neither the port, nor a connection at either end, is passed on to a program that is started")
    func closedOnExec() async throws {
        let seen = Box<[Bool]>([])
        let port = try await TestListener.answering { request, writer in
            let number = request.header("Host").flatMap { $0.split(separator: ":").last }.flatMap { UInt16($0) } ?? 0
            seen.change { $0 = flags(ofSocketsAt: number) }
            await writer.send(HTTPResponse(status: 200, json: Array("{}".utf8)))
        }
        #expect(try await plainClient().exchange(ping, with: local(port.port)).status == 200)
        #expect(seen.value == [true, true, true])
        await port.stop()
    }

    @Test("a socket that was bound by another hand is served")
    func inherited() async throws {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let bound = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
        }
        #expect(bound == 0)
        #expect(listen(descriptor, 5) == 0)
        let port = try await TestListener(address: .inherited(descriptor: descriptor))
        #expect(try await plainClient().exchange(ping, with: local(port.port)).status == 200)
        await port.stop()
    }
}

/// Of each socket of this process that has the port on either side: whether it is closed on exec.
private func flags(ofSocketsAt port: UInt16) -> [Bool] {
    func ports(_ descriptor: Int32) -> [UInt16] {
        [getsockname, getpeername].compactMap { ask in
            var address = sockaddr_in()
            var size = socklen_t(MemoryLayout<sockaddr_in>.size)
            let result = withUnsafeMutablePointer(to: &address) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { ask(descriptor, $0, &size) }
            }
            return result == 0 && address.sin_family == sa_family_t(AF_INET) ? UInt16(bigEndian: address.sin_port) : nil
        }
    }
    return (0..<Int32(1024)).filter { ports($0).contains(port) }.map { fcntl($0, F_GETFD) & FD_CLOEXEC != 0 }
}
