// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// `ced issue-operator NAME --out DIR`: a certificate with which a person or a program may use 7443. The key is made here and never leaves.

import AgentLink
import ArgumentParser
import CtrlExec
import Glibc
import PKI
import Platform

struct IssueOperatorCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "issue-operator", abstract: "Makes an operator's identity: operator.key, operator.crt and ca.crt.",
        discussion: """
            Use it with: ced … --endpoints a:7443,b:7443,c:7443 --identity DIR
            If the outcome is not known, the same command goes on where it stopped: the key and the request (operator.request) wait in DIR.
            """)

    @Argument(help: ArgumentHelp("The operator's name, as it stands in the certificate.", valueName: "name"))
    var name: String
    @Option(name: .long, help: ArgumentHelp("The directory to write to; made if it is not there.", valueName: "dir"))
    var out: String
    @OptionGroup(title: "Connection")
    var connection: ConnectionOptions
    @OptionGroup
    var request: RequestOptions

    func validate() throws {
        guard OperatorName(name) != nil else {
            throw ValidationError(
                "'\(name)' is not an operator's name: letters, digits, '.', '_' and '-', beginning with a letter or digit, at most 64")
        }
    }

    func run() async throws {
        try await reporting(json: connection.json) {
            let client = try Client(connection)
            do {
                let draft = try prepare()
                let answer: JSONValue
                do throws(ClientFailure) {
                    answer = try await client.exclusive(
                        "POST", "/v1/operators", .record(["name": .text(name), "csr": .text(draft.request)]), request,
                        madeID: draft.requestID)
                } catch {
                    // What may have happened, now or in an earlier attempt, keeps its key.
                    let isOver = error.code == .failed && error.answer != nil
                    if !error.mayHaveHappened, isOver || draft.isNew && error.code != .noLeaderInTime { discard() }
                    throw error
                }
                try finish(answer)
                if connection.json { return Output.json(answer.with(["directory": .text(out)])) }
                Output.line("Issued operator '\(answer.text("name"))', certificate serial \(answer.text("serial")), in \(out).")
            } catch let problem as FileProblem {
                throw ClientFailure(problem.isPermission ? .permission : .failed, problem.description)
            }
        }
    }

    /// The request as it was signed, and the id under which it was sent: kept in the directory, so that the same command can be repeated.
    private struct Draft {
        let request: String
        let requestID: String
        let isNew: Bool
    }
    private func path(_ name: String) -> String { "\(out)/\(name)" }
    private func exists(_ name: String) -> Bool { access(path(name), F_OK) == 0 }

    private func prepare() throws -> Draft {
        try DurableFile.makeDirectory(out, mode: 0o700)
        if exists("operator.request"), exists("operator.key") {
            let kept = JSONValue(bytes: try DurableFile.read(path("operator.request"))) ?? .object([])
            guard kept.text("name") == name, !kept.text("csr").isEmpty, !kept.text("request_id").isEmpty else {
                throw ClientFailure(.usage, "\(out) belongs to another operator; choose another directory")
            }
            // With a certificate there is nothing left to do, unless the same request is repeated on purpose.
            guard !exists("operator.crt") || request.requestID == kept.text("request_id") else { throw taken("operator.crt") }
            return Draft(request: kept.text("csr"), requestID: request.requestID ?? kept.text("request_id"), isNew: false)
        }
        for name in ["operator.crt", "operator.key"] where exists(name) { throw taken(name) }
        let key = try PrivateKey.generateP256()
        let draft = Draft(
            request: String(decoding: try CertificateRequest.make(key: key, commonName: name).pem, as: UTF8.self),
            requestID: try request.requestID ?? Client.newRequestID(), isNew: true)
        try DurableFile.write(key.pem, to: path("operator.key"), mode: 0o600)
        let kept = JSONValue.record(["name": .text(name), "csr": .text(draft.request), "request_id": .text(draft.requestID)])
        try DurableFile.write(kept.bytes, to: path("operator.request"), mode: 0o600)
        return draft
    }

    private func taken(_ name: String) -> ClientFailure {
        ClientFailure(.usage, "\(path(name)) exists already; choose another directory")
    }

    private func finish(_ answer: JSONValue) throws {
        let certificate = Array(answer.text("certificate").utf8)
        let key = try PrivateKey(pem: try DurableFile.read(path("operator.key")))
        guard try key.matches(Certificate(pem: certificate)) else {
            throw ClientFailure(.failed, "the certificate that came back belongs to another key than \(path("operator.key"))")
        }
        try DurableFile.write(Array(answer.text("ca").utf8), to: path("ca.crt"), mode: 0o644)
        try DurableFile.write(certificate, to: path("operator.crt"), mode: 0o644)
    }

    private func discard() {
        unlink(path("operator.key"))
        unlink(path("operator.request"))
        // Only if it is empty, as we made it.
        rmdir(out)
    }
}
