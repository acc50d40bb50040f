// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What `ced cluster invite` prints and `ced cluster join` takes: one word with where the cluster is found, by what its CA is known, as whom the
// host is to join, and the secret that lets it. Whoever has it may join in place of the one it was meant for, once, within ten minutes.

import Consensus
import CtrlExec
import FoundationEssentials
import PKI

package struct JoinToken: Hashable, Sendable {
    private static let prefix = "ced-join-"
    package static let secretBytes = 32
    private static let endpointLimit = 16

    package let member: MemberID
    /// 7443 of members.
    package let endpoints: [HostPort]
    /// SHA-256 of the cluster CA's certificate, in DER.
    package let fingerprint: [UInt8]
    package let secret: [UInt8]
    package init(member: MemberID, endpoints: [HostPort], fingerprint: [UInt8], secret: [UInt8]) {
        self.member = member
        self.endpoints = endpoints
        self.fingerprint = fingerprint
        self.secret = secret
    }

    private struct Shape: Codable {
        let member: String
        let endpoints: [String]
        let ca: String
        let secret: String
    }

    package func text() throws -> String {
        let shape = Shape(
            member: member.name, endpoints: endpoints.map(\.description), ca: hexadecimal(fingerprint), secret: hexadecimal(secret))
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        // Letters that no shell and no mail programme takes for anything else.
        let letters = try encoder.encode(shape).base64EncodedString().utf8.filter { $0 != 61 }.map { $0 == 43 ? 45 : $0 == 47 ? 95 : $0 }
        return Self.prefix + String(decoding: letters, as: UTF8.self)
    }

    package init(_ text: String) throws(ConfigurationError) {
        func problem(_ what: String) -> ConfigurationError {
            ConfigurationError(path: "the token", "\(what): copy the whole of what 'ced cluster invite' printed")
        }
        guard text.hasPrefix(Self.prefix), text.utf8.count <= 4_096 else {
            throw problem("this is no token (they begin with \(Self.prefix))")
        }
        var letters = text.utf8.dropFirst(Self.prefix.utf8.count).map { $0 == 45 ? 43 : $0 == 95 ? 47 : $0 }
        while letters.count % 4 != 0 { letters.append(61) }
        guard let data = Data(base64Encoded: String(decoding: letters, as: UTF8.self)),
            let shape = try? JSONDecoder().decode(Shape.self, from: data)  // what is wrong in it nobody can mend
        else { throw problem("the token is damaged") }
        let endpoints = shape.endpoints.compactMap { HostPort($0) }
        guard let member = MemberID(shape.member), (1...Self.endpointLimit).contains(endpoints.count),
            endpoints.count == shape.endpoints.count,
            let fingerprint = Self.bytes(shape.ca), fingerprint.count == 32, let secret = Self.bytes(shape.secret),
            secret.count == Self.secretBytes
        else { throw problem("the token is damaged") }
        self.init(member: member, endpoints: endpoints, fingerprint: fingerprint, secret: secret)
    }

    private static func bytes(_ text: String) -> [UInt8]? {
        let digits = text.utf8.compactMap { Character(UnicodeScalar($0)).hexDigitValue.map { UInt8($0) } }
        guard digits.count == text.utf8.count, digits.count % 2 == 0 else { return nil }
        return stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
    }
}
