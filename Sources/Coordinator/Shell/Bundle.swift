// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What one member needs to begin, in one file: `ced cluster init` writes it, `ced cluster install` makes a state directory of it.
// It holds the member's key and the cluster key: mode 0600, to be carried over a safe channel and deleted after use.

import Consensus
import CtrlExec
import FoundationEssentials

/// Another member, and where it is dialled.
package struct MemberContact: Codable, Hashable, Sendable {
    package let id: String
    /// `HOST:PORT` of its peer port.
    package let address: String
    package init(id: String, address: String) {
        self.id = id
        self.address = address
    }
}

package struct Bundle: Codable, Hashable, Sendable {
    package static let currentFormat = 1

    package struct Key: Codable, Hashable, Sendable {
        package let version: UInt32
        /// Base64 of 32 bytes.
        package let key: String
        package init(version: UInt32, key: String) {
            self.version = version
            self.key = key
        }
    }

    package let format: Int
    package let member: String
    /// PEM, as are `key`, `clusterCA` and `fleetCA`.
    package let certificate: String
    package let key: String
    package let clusterKey: Key
    package let clusterCA: String
    package let fleetCA: String
    /// Base64 of the encoded `GenesisState`.
    package let genesis: String
    /// With whom the cluster began.
    package let voters: [String]
    /// The members as they are now; only of one that joins.
    package let contacts: [MemberContact]?

    package init(
        member: String, certificate: String, key: String, clusterKey: Key, clusterCA: String, fleetCA: String, genesis: String,
        voters: [String], contacts: [MemberContact]? = nil
    ) {
        format = Self.currentFormat
        self.member = member
        self.certificate = certificate
        self.key = key
        self.clusterKey = clusterKey
        self.clusterCA = clusterCA
        self.fleetCA = fleetCA
        self.genesis = genesis
        self.voters = voters
        self.contacts = contacts
    }

    package func encoded() throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return Array(try encoder.encode(self)) + [10]
    }

    /// - Parameter path: its name in messages.
    package init(decoding bytes: [UInt8], path: String) throws(ConfigurationError) {
        struct Format: Codable { let format: Int }
        let format: Int
        let bundle: Bundle
        do {
            format = try JSONDecoder().decode(Format.self, from: Data(bytes)).format
        } catch {
            throw ConfigurationError(path: path, "this is not a bundle of 'ced cluster init': it is no JSON object with a format")
        }
        guard format == Self.currentFormat else {
            throw ConfigurationError(
                path: path, "this bundle has format \(format), this version reads format \(Self.currentFormat): use the ced that made it")
        }
        do {
            bundle = try JSONDecoder().decode(Bundle.self, from: Data(bytes))
        } catch {
            throw ConfigurationError(path: path, "this is a damaged bundle: a part is missing or is not what it should be; make it anew")
        }
        self = bundle
    }
}
