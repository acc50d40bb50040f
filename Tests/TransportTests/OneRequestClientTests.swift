// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What the client sends, what it can read, and how precisely it says what went wrong.

import NIOCore
import PKI
import Testing

@testable import Transport

@Suite("The one-request client", .timeLimit(.minutes(1))) struct OneRequestClientTests {
    private func answer(_ text: String, closes: ScriptedHandler.When = .heard) async throws -> RawServer {
        try await RawServer { _ in ScriptedHandler(answer: text, closes: closes) }
    }

    @Test(
        "answers of all the kinds there are, read to the end",
        arguments: [
            ("HTTP/1.0 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}", 200, "{}"),
            ("HTTP/1.1 403 Error\r\ncontent-length:3\r\n\r\nabcdef", 403, "abc"),
            ("HTTP/1.0 200 OK\n\nuntil the end", 200, "until the end"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: 1\r\n\r\n", 200, "abcde"),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n", 202, ""),
            ("HTTP/1.0 204\r\n\r\n", 204, ""),
        ])
    func reads(text: String, status: Int, body: String) async throws {
        let server = try await answer(text)
        let reply = try await plainClient().exchange(ping, with: local(server.port))
        #expect(reply.status == status)
        #expect(String(decoding: reply.body, as: UTF8.self) == body)
        try await server.stop()
    }

    @Test(
        "what is not an answer is malformed, and the request counts as sent",
        arguments: [
            "nonsense\r\n\r\n", "HTTP/2 200\r\n\r\n", "HTTP/1.0 200 OK\r\nContent-Length: x\r\n\r\n",
            "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nab",
            "HTTP/1.0 200 OK\r\nno colon\r\n\r\n", "HTTP/1.0 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "HTTP/1.0 200",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc",
        ])
    func refusesMalformed(text: String) async throws {
        let server = try await answer(text)
        let failure = await plainClient().failure(with: local(server.port))
        guard case .malformed? = failure else {
            Issue.record("\(String(describing: failure))")
            return
        }
        #expect(failure?.requestSent == true)
        try await server.stop()
    }

    @Test(
        "an answer over the limit is refused as soon as it says so, or is",
        arguments: [
            "HTTP/1.0 200 OK\r\nContent-Length: 11\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\n01234567890",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nabcdef\r\n5\r\n",
        ])
    func refusesTooLarge(text: String) async throws {
        let server = try await answer(text, closes: .never)
        let client = plainClient { $0.responseLimit = 10 }
        #expect(
            await client.failure(with: local(server.port))
                == .tooLarge(limit: 10))
        try await server.stop()
    }

    @Test(
        "what comes before the answer and behind its last chunk is bounded",
        arguments: [
            String(repeating: "HTTP/1.1 100 Continue\r\n\r\n", count: 9),
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + String(repeating: "T: 1\r\n", count: 129),
        ])
    func boundsTheRest(text: String) {
        var parser = ResponseParser(bodyLimit: 100)
        parser.append(text.utf8)
        #expect(throws: ResponseParser.Failure.self) { _ = try parser.next() }
    }

    @Test("an answer in chunks reads the same byte by byte")
    func parsesByteByByte() throws {
        var parser = ResponseParser(bodyLimit: 5)
        var messages: [ResponseParser.Message] = []
        let text =
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nA: b\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nT: 1\r\n\r\n"
        for byte in text.utf8 {
            parser.append(CollectionOfOne(byte))
            if let message = try parser.next() { messages.append(message) }
        }
        #expect(messages.map { String(decoding: $0.body, as: UTF8.self) } == ["abcde"])
        #expect(messages.first?.headers.map(\.name) == ["Transfer-Encoding", "A"])
        #expect(parser.isBetweenResponses)
    }

    @Test("what many exchanges may receive together ends the one that goes over it")
    func keepsToTheBudget() async throws {
        let server = try await answer("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        #expect(await plainClient { $0.admitBytes = { $0 < 10 } }.failure(with: local(server.port)) == .overBudget)
        try await server.stop()
    }

    @Test("an answer that has begun must end in time, however it dribbles")
    func boundsTheWhole() async throws {
        let server = try await answer("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nab", closes: .never)
        #expect(await plainClient { $0.wholeTimeout = .milliseconds(20) }.failure(with: local(server.port)) == .timeout(.response))
        try await server.stop()
    }

    @Test("every split of two responses in a row reads the same")
    func parsesInPieces() throws {
        let bytes = Array("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.0 201 Created\r\nContent-Length: 2\r\n\r\nde".utf8)
        for split in 0...bytes.count {
            var parser = ResponseParser(bodyLimit: 100)
            var messages: [ResponseParser.Message] = []
            for piece in [bytes[..<split], bytes[split...]] {
                parser.append(piece)
                while let message = try parser.next() { messages.append(message) }
            }
            #expect(messages.map(\.status) == [200, 201])
            #expect(messages.map { String(decoding: $0.body, as: UTF8.self) } == ["abc", "de"])
            #expect(parser.isBetweenResponses)
        }
    }

    @Test("a request is HTTP/1.1 with its length, and its lines stay lines")
    func writes() {
        var buffer = ByteBuffer()
        OutgoingRequest(method: "POST", path: "/run", headers: [("X", "a\r\nb")], body: Array("{}".utf8)).write(
            into: &buffer, host: "h:7443")
        #expect(
            String(buffer: buffer)
                == "POST /run HTTP/1.1\r\nHost: h:7443\r\nConnection: close\r\nUser-Agent: ced\r\nContent-Length: 2\r\nContent-Type: application/json\r\nX: a  b\r\n\r\n{}"
        )
        buffer.clear()
        OutgoingRequest(method: "GET", path: "/capabilities").write(into: &buffer, host: "[::1]:7443")
        #expect(String(buffer: buffer) == "GET /capabilities HTTP/1.1\r\nHost: [::1]:7443\r\nConnection: close\r\nUser-Agent: ced\r\n\r\n")
    }

    @Test("a port where nobody listens, a socket that is not there and a name that has no address are told apart")
    func cannotConnect() async throws {
        let server = try await RawServer { _ in ScriptedHandler(closes: .never) }
        let port = server.port
        try await server.stop()
        let client = plainClient()
        #expect(await client.failure(with: local(port)) == .refused)
        guard
            case .unreachable? = await client.failure(with: .unix(path: "/nonexistent/socket"))
        else {
            Issue.record("a missing socket")
            return
        }
        guard
            case .resolve? = await client.failure(with: .tcp(host: "no such name", port: 1))
        else {
            Issue.record("a name without an address")
            return
        }
        let elsewhere = plainClient { $0.bindAddress = "nowhere" }
        guard case .local? = await elsewhere.failure(with: local(port)) else {
            Issue.record("a source address that is none")
            return
        }
    }

    @Test("a peer that closes says whether the request was sent")
    func closes() async throws {
        let fleet = try Fleet()
        let beforeHandshake = try await RawServer { _ in ScriptedHandler(closes: .heard) }
        #expect(
            await client(nil, trusting: .anyone).failure(with: local(beforeHandshake.port)) == .closedWithoutResponse(requestSent: false))
        try await beforeHandshake.stop()

        let server = TLSServer(identity: try fleet.agent(), clients: .none)
        let afterHandshake = try await TestListener.answering(tls: { server }) { _, writer in writer.close() }
        #expect(
            await client(nil, trusting: fleet.agents()).failure(with: local(afterHandshake.port))
                == .closedWithoutResponse(requestSent: true))
        await afterHandshake.stop()

        let plain = try await RawServer { _ in ScriptedHandler(closes: .heard) }
        #expect(
            await plainClient().failure(with: local(plain.port))
                == .closedWithoutResponse(requestSent: true))
        try await plain.stop()
    }

    @Test("silence ends at the deadline of its phase")
    func timesOut() async throws {
        let silent = try await RawServer { _ in ScriptedHandler(closes: .never) }
        let impatient = client(nil, trusting: .anyone) { $0.handshakeTimeout = .milliseconds(50) }
        #expect(
            await impatient.failure(with: local(silent.port))
                == .timeout(.handshake))
        let reader = plainClient { $0.readTimeout = .milliseconds(50) }
        #expect(
            await reader.failure(with: local(silent.port)) == .timeout(.response)
        )
        try await silent.stop()
    }

    @Test("a server that does not speak TLS is a failed handshake, with the reason in words")
    func notTLS() async throws {
        let server = try await answer("HTTP/1.0 400 Bad Request\r\n\r\n")
        let failure = await client(nil, trusting: .anyone).failure(with: local(server.port))
        #expect(failure == .handshake("wrong version number"), "\(String(describing: failure))")
        try await server.stop()
    }

    @Test("a cancelled exchange closes its connection and says that it was sent")
    func cancels() async throws {
        let (started, tellStarted) = AsyncStream.makeStream(of: Void.self)
        let (ended, tellEnded) = AsyncStream.makeStream(of: Void.self)
        let port = try await TestListener.answering { _, writer in
            tellStarted.yield(())
            await writer.closed
            tellEnded.yield(())
        }
        let task = Task {
            await plainClient().failure(with: local(port.port))
        }
        for await _ in started { break }
        task.cancel()
        #expect(await task.value == .cancelled(requestSent: true))
        for await _ in ended { break }
        await port.stop()
    }
}
