// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Every body that real programs exchanged decodes into our shapes, and our encoding of it carries the same fields and values.

import FoundationEssentials
import Testing
import TraceFixtures

@testable import CtrlExec

@Suite struct TraceTests {
    /// Decodes `bytes` as `Shape` and encodes it again: the two JSON values.
    private func roundTrip<Shape: Codable>(_ shape: Shape.Type, _ bytes: [UInt8]) throws -> (before: JSONValue, after: JSONValue) {
        let value = try JSONDecoder().decode(shape, from: Data(bytes))
        return (
            try JSONDecoder().decode(JSONValue.self, from: Data(bytes)),
            try JSONDecoder().decode(JSONValue.self, from: JSONEncoder().encode(value))
        )
    }
    private struct UnknownPath: Error { let path: String }

    @Test("the traces are there") func tracesExist() throws {
        #expect(Trace.names.count >= 45)
        for name in Trace.names { #expect(try Trace(name: name).parts.count >= 2, "\(name)") }
    }

    @Test("every request body of a real dispatcher or agent decodes and keeps its fields", arguments: Trace.names)
    func requests(_ name: String) throws {
        for part in try Trace(name: name).parts where !part.body.isEmpty {
            // Two traces send what is no JSON on purpose.
            guard let path = part.path, (try? JSONDecoder().decode(JSONValue.self, from: Data(part.body))) != nil else { continue }
            let (before, after) =
                switch path {
                case "/run": try roundTrip(RunRequest.self, part.body)
                case "/ping", "/renew": try roundTrip(ReqidRequest.self, part.body)
                case "/rotate-serial": try roundTrip(RotateSerialRequest.self, part.body)
                case "/renew-complete": try roundTrip(RenewCompleteRequest.self, part.body)
                case "/pair": try roundTrip(PairRequest.self, part.body)
                default: throw UnknownPath(path: path)
                }
            guard case .object(let members) = before else { throw UnknownPath(path: path) }
            for member in members {
                let expected = member.key == "port" ? member.value.scalarText.map(JSONValue.text) : member.value
                let actual = member.key == "port" ? after["port"]?.scalarText.map(JSONValue.text) : after[member.key]
                #expect(actual == expected, "\(name) \(path) \(member.key)")
            }
        }
    }

    @Test("every answer of a real agent decodes and keeps all its fields and values, under our phrase", arguments: Trace.names)
    func answers(_ name: String) throws {
        let parts = try Trace(name: name).parts
        for (request, answer) in zip(parts, parts.dropFirst()) {
            guard let path = request.path, let code = answer.statusCode, path != "/pair" else { continue }
            let isError = [400, 403, 413, 431].contains(code) || answer.body.starts(with: Array(#"{"error":"not found""#.utf8))
            let (before, after) =
                switch path {
                case _ where isError: try roundTrip(ErrorAnswer.self, answer.body)
                case "/run": try roundTrip(RunAnswer.self, answer.body)
                case "/ping": try roundTrip(PingAnswer.self, answer.body)
                case "/capabilities": try roundTrip(CapabilitiesAnswer.self, answer.body)
                case "/rotate-serial": try roundTrip(RotateSerialAnswer.self, answer.body)
                case "/renew", "/renew-complete": try roundTrip(RenewAnswer.self, answer.body)
                case _ where path.hasPrefix("/result/"): try roundTrip(ResultAnswer.self, answer.body)
                default: throw UnknownPath(path: path)
                }
            #expect(after == before, "\(name) \(path)")
            #expect(answer.firstLine == "HTTP/1.0 \(code) \(StatusPhrases.phrase(code))")
        }
    }

    @Test("both answers of a real pairing are told apart on one connection", arguments: ["09-pairing.txt", "12-pairing.txt"])
    func pairing(_ name: String) throws {
        let trace = try Trace(name: name)
        let request = try #require(trace.parts.first { $0.path == "/pair" })
        let ask = try JSONDecoder().decode(PairRequest.self, from: Data(request.body))
        #expect(ask.isComplete && ask.csr.hasPrefix("-----BEGIN CERTIFICATE REQUEST-----"))
        #expect(ask.nonce?.utf8.count == 32)
        let answers = try #require(trace.parts.first { $0.statusCode == 200 })
        let length = try #require(answers.head.split(whereSeparator: \.isNewline).last.flatMap { Int($0.split(separator: " ")[1]) })
        guard case .pending(let reqid) = try JSONDecoder().decode(PairAnswer.self, from: Data(answers.body.prefix(length))) else {
            Issue.record("the first answer is not pending")
            return
        }
        #expect(Reqid(reqid) != nil)
        let second = Trace.Part(direction: .sent, bytes: Array(answers.body.dropFirst(length)))
        guard case .approved(let approval) = try JSONDecoder().decode(PairAnswer.self, from: Data(second.body)) else {
            Issue.record("the second answer is not an approval")
            return
        }
        #expect(approval.nonce == ask.nonce)
        #expect(approval.dispatcherID == "disp-one")
        #expect(approval.cert.hasPrefix("-----BEGIN CERTIFICATE-----"))
        let (before, after) = try roundTrip(PairAnswer.self, second.body)
        #expect(before == after)
    }

    @Test("a Perl peer's scalars are read as what they mean") func lenient() throws {
        func decode<Shape: Decodable>(_ shape: Shape.Type, _ text: String) throws -> Shape {
            try JSONDecoder().decode(shape, from: Data(text.utf8))
        }
        let ask = try decode(PairRequest.self, #"{"hostname":"web","csr":"x","port":"17443","lookup_by":"dns","nonce":12}"#)
        #expect(ask.port == 17_443 && ask.lookupBy == nil && ask.nonce == "12")
        #expect(try decode(PairRequest.self, #"{"hostname":"web","csr":"x","port":"seven"}"#).port == nil)
        #expect(try decode(PairRequest.self, #"{"hostname":"0","csr":"x"}"#).isComplete == false)
        #expect(try decode(PingAnswer.self, #"{"status":"ok","staged":1,"version":0.9}"#).staged == true)
        #expect(try decode(RunAnswer.self, #"{"exit":"3","stdout":7}"#) == RunAnswer(exit: 3, stdout: "7"))
        #expect(throws: (any Error).self) { try decode(RunAnswer.self, #"{"exit":"three"}"#) }
    }

    @Test("a run whose args are no array is told apart from one that is no object") func runFlaws() throws {
        func run(_ text: String) throws -> RunRequest { try RunRequest(JSONDecoder().decode(JSONValue.self, from: Data(text.utf8))) }
        #expect(throws: RunRequest.Flaw.notAnObject) { try run("[]") }
        #expect(throws: RunRequest.Flaw.argsNotArray(reqid: "1")) { try run(#"{"args":"a","reqid":"1"}"#) }
        #expect(throws: RunRequest.Flaw.argsNotArray(reqid: "")) { try run(#"{"args":[[]]}"#) }
        #expect(
            try run(#"{"script":"a","args":[1,"b",null,true],"reqid":7,"async":1}"#)
                == RunRequest(script: "a", args: ["1", "b", "", "1"], reqid: "7", detached: true))
        #expect(try run("{}") == RunRequest(script: "", args: [], reqid: ""))
    }

    @Test("JSON keeps what it does not know, keys sorted; the last of two equal keys wins") func json() {
        let value = JSONValue.object(members: [
            .init("b", .array([.integer(1), .null, .boolean(true)])), .init("a", .text("é\"\n\u{1}")), .init("b", .number(1.5)),
        ])
        #expect(value.canonicalText == #"{"a":"é\"\n\u0001","b":1.5}"#)
    }
}
