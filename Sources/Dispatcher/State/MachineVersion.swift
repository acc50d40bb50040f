// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Which rules of the state machine are in force. Members of different releases apply the same entries; so a rule that an older release does
// not know takes effect by an entry of its own (`raiseVersion`), which a leader proposes once every configured member has said that it knows
// it. From that entry on, a member that does not know it stops rather than apply what it would not understand.

/// Counts the changes of the state machine that older releases cannot apply.
package struct MachineVersion: Comparable, Hashable, Sendable, CustomStringConvertible {
    package let number: UInt32
    package init(_ number: UInt32) { self.number = number }
    /// With what every cluster begins.
    package static let first = MachineVersion(1)
    /// Tags of agents in the registry.
    package static let second = MachineVersion(2)
    /// Members that come and go.
    package static let third = MachineVersion(3)
    /// The newest that this release knows.
    package static let newest = third
    package var next: MachineVersion { MachineVersion(number &+ 1) }
    package static func < (left: MachineVersion, right: MachineVersion) -> Bool { left.number < right.number }
    package var description: String { "\(number)" }
}

extension Command {
    /// The rules under which this command may stand in the log; under older ones it changes nothing, on any member.
    package var neededVersion: MachineVersion {
        switch self {
        case .tagsLearned: .second
        case .invite, .admit, .removeMember, .setMemberAddress, .reconfigure: .third
        default: .first
        }
    }
}
