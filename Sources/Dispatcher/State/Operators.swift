// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Operators: people and programs with a certificate of the cluster CA. One name may have several certificates; each is known by its serial.

import Consensus
import CtrlExec

/// One certificate of an operator.
package struct OperatorRecord: Hashable, Sendable {
    package var name: OperatorName
    package var serial: SerialNumber
    package var certificate: [UInt8]
    package var notAfter: WallClock
    package init(name: OperatorName, serial: SerialNumber, certificate: [UInt8], notAfter: WallClock) {
        self.name = name
        self.serial = serial
        self.certificate = certificate
        self.notAfter = notAfter
    }
}

struct Operators: Hashable, Sendable {
    static let limit = 100_000

    struct Key: Comparable, Hashable, Sendable {
        let name: OperatorName
        let serial: SerialNumber
        static func < (left: Key, right: Key) -> Bool { left.name == right.name ? left.serial < right.serial : left.name < right.name }
    }

    private(set) var records = SortedArrayMap<Key, OperatorRecord>()

    var isFull: Bool { records.count >= Operators.limit }

    subscript(name: OperatorName, serial: SerialNumber) -> OperatorRecord? { records[Key(name: name, serial: serial)] }

    /// The one with the greatest serial: serials rise, so it is the newest.
    func newest(named name: OperatorName) -> OperatorRecord? {
        var low = 0
        var high = records.count
        while low < high {
            let middle = low + (high - low) / 2
            if name < records.keys[middle].name { high = middle } else { low = middle + 1 }
        }
        guard low > 0, records.keys[low - 1].name == name else { return nil }
        return records.values[low - 1]
    }

    mutating func record(_ record: OperatorRecord) { records[Key(name: record.name, serial: record.serial)] = record }
}
