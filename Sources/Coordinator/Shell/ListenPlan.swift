// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Where each of a member's ports listens: on the socket that the service manager passed under the port's name, or where the configuration
// says. A socket that was passed wins, for its unit is what opened it; that the configuration says otherwise is said.

import CtrlExec
import Platform
import Transport

package struct ListenPlan: Hashable, Sendable {
    /// `FileDescriptorName=` of the socket unit of each port.
    package enum Place: String, CaseIterable, Hashable, Sendable {
        case operations, pairing, api, peer, control
        /// The configuration file's keys, and the flags, for messages.
        var settings: String {
            switch self {
            case .operations: "--operations, operations_listen"
            case .pairing: "--pairing, pairing_listen"
            case .api: "--api, api_listen"
            case .peer: "--peer, peer_listen"
            case .control: "--socket, control_socket"
            }
        }
    }

    package struct Choice: Hashable, Sendable {
        package let address: ListenAddress
        /// For people; of an inherited socket what it is bound to.
        package let text: String
        /// What the configuration says, if it is not what happens.
        package let unused: String?
        package var isInherited: Bool { if case .inherited = address { true } else { false } }
    }

    /// What may be passed, and what each must be.
    package static let known: [String: InheritedSockets.Family] = Dictionary(
        uniqueKeysWithValues: Place.allCases.map { ($0.rawValue, $0 == .control ? .unix : .tcp) })

    private let choices: [Place: Choice]

    package init(_ configuration: ServeConfiguration, inherited: [InheritedSocket]) {
        var choices: [Place: Choice] = [:]
        for place in Place.allCases {
            let (address, text) = Self.configured(place, configuration)
            if let socket = inherited.first(where: { $0.name == place.rawValue }) {
                let isSame = Self.agree(socket.address, address)
                choices[place] = Choice(
                    address: .inherited(descriptor: socket.descriptor), text: "\(socket.address)", unused: isSame ? nil : text)
            } else {
                choices[place] = Choice(address: address, text: text, unused: nil)
            }
        }
        self.choices = choices
    }

    package subscript(place: Place) -> Choice {
        // Every place has one: see the loop above.
        choices[place]!
    }

    /// One line for each port that is the service manager's, and for each setting that is therefore not used.
    package var lines: [(isWarning: Bool, line: LogLine)] {
        Place.allCases.flatMap { place -> [(Bool, LogLine)] in
            let choice = self[place]
            guard choice.isInherited else { return [] }
            let listens = LogLine("listen", ("PORT", place.rawValue), ("ADDRESS", choice.text), ("SOCKET", "inherited"))
            guard let unused = choice.unused else { return [(false, listens)] }
            let message = "the service manager's socket is \(choice.text); '\(unused)' is not used (\(place.settings))"
            return [(false, listens), (true, LogLine("config-warn", ("KEY", place.rawValue), ("MSG", message)))]
        }
    }

    /// Which flag and which key of the file set the address that could not be had.
    package func setting(of failure: ListenFailure) -> String {
        let place = Place.allCases.first { failure.description.contains("listen on \(self[$0].address):") }
        guard let place, !self[place].isInherited else { return "" }
        return "; set by \(place.settings)"
    }

    /// Which process has the address, as far as we may know it.
    package func holder(of failure: ListenFailure) -> String {
        let place = Place.allCases.first { failure.description.contains("listen on \(self[$0].address):") }
        guard failure.isInUse, let place, place != .control, let address = HostPort(self[place].text) else { return "" }
        return address.holder
    }

    private static func configured(_ place: Place, _ configuration: ServeConfiguration) -> (ListenAddress, String) {
        func tcp(_ address: HostPort) -> (ListenAddress, String) { (.tcp(host: address.host, port: address.port), "\(address)") }
        return switch place {
        case .operations: tcp(configuration.operations)
        case .pairing: tcp(configuration.pairing)
        case .api: tcp(configuration.api)
        case .peer: tcp(configuration.peer)
        case .control: (.unix(path: configuration.controlSocket, mode: 0o660, group: nil), configuration.controlSocket)
        }
    }

    /// `0.0.0.0` in the configuration and `[::]` in a socket unit are the same to everybody who reads them.
    private static func agree(_ socket: InheritedSocket.Address, _ configured: ListenAddress) -> Bool {
        switch (socket, configured) {
        case (.unix(let path), .unix(let other, _, _)): path == other
        case (.tcp(let host, let port), .tcp(let other, let otherPort)):
            port == otherPort && (host == other || (["::", "0.0.0.0"].contains(host) && ["::", "0.0.0.0"].contains(other)))
        default: false
        }
    }
}
