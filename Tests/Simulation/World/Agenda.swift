// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What will happen, in order of true time. What is due at the same instant happens in the order in which it was planned, so that a run
// repeats itself.

/// A binary heap of (time, sequence number).
struct Agenda<Occurrence> {
    private struct Item {
        let time: TrueTime
        let sequence: UInt64
        let occurrence: Occurrence
        func precedes(_ other: Item) -> Bool { time == other.time ? sequence < other.sequence : time < other.time }
    }
    private var items: [Item] = []
    private var nextSequence: UInt64 = 0

    var isEmpty: Bool { items.isEmpty }
    var nextTime: TrueTime? { items.first?.time }

    mutating func plan(_ occurrence: Occurrence, at time: TrueTime) {
        items.append(Item(time: time, sequence: nextSequence, occurrence: occurrence))
        nextSequence += 1
        var child = items.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard items[child].precedes(items[parent]) else { break }
            items.swapAt(child, parent)
            child = parent
        }
    }

    mutating func takeFirst() -> (time: TrueTime, occurrence: Occurrence)? {
        guard let first = items.first else { return nil }
        let last = items.removeLast()
        if !items.isEmpty {
            items[0] = last
            var parent = 0
            while true {
                var least = parent
                for child in [2 * parent + 1, 2 * parent + 2] where child < items.count && items[child].precedes(items[least]) {
                    least = child
                }
                guard least != parent else { break }
                items.swapAt(parent, least)
                parent = least
            }
        }
        return (first.time, first.occurrence)
    }
}
