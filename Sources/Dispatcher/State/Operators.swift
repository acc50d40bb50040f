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

    init() {}
    init(records: SortedArrayMap<Key, OperatorRecord>) { self.records = records }

    var isFull: Bool { records.count >= Operators.limit }

    subscript(name: OperatorName, serial: SerialNumber) -> OperatorRecord? { records[Key(name: name, serial: serial)] }

    /// Those under this name, in the order of their serials: serials rise, so the last is the newest.
    func all(named name: OperatorName) -> ArraySlice<OperatorRecord> {
        // The first place of which `isBehind` is true.
        func place(where isBehind: (OperatorName) -> Bool) -> Int {
            var low = 0
            var high = records.count
            while low < high {
                let middle = low + (high - low) / 2
                if isBehind(records.keys[middle].name) { high = middle } else { low = middle + 1 }
            }
            return low
        }
        return records.values[place { !($0 < name) }..<place { name < $0 }]
    }

    func newest(named name: OperatorName) -> OperatorRecord? { all(named: name).last }

    mutating func remove(_ name: OperatorName, _ serial: SerialNumber) { records[Key(name: name, serial: serial)] = nil }

    mutating func record(_ record: OperatorRecord) { records[Key(name: record.name, serial: record.serial)] = record }
}
