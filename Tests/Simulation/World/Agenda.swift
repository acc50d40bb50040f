// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What will happen, in order of true time. What is due at the same instant happens in the order in which it was planned, so that a run
// repeats itself.

/// A binary heap of (time, sequence number). The occurrences, which are large, lie still beside it.
struct Agenda<Occurrence> {
    private struct Item {
        let time: TrueTime
        let sequence: UInt64
        let place: Int
        func precedes(_ other: Item) -> Bool { time == other.time ? sequence < other.sequence : time < other.time }
    }
    private var items: [Item] = []
    private var occurrences: [Occurrence?] = []
    private var freePlaces: [Int] = []
    private var nextSequence: UInt64 = 0

    var isEmpty: Bool { items.isEmpty }
    var nextTime: TrueTime? { items.first?.time }

    mutating func plan(_ occurrence: Occurrence, at time: TrueTime) {
        let place: Int
        if let free = freePlaces.popLast() {
            place = free
            occurrences[place] = occurrence
        } else {
            place = occurrences.count
            occurrences.append(occurrence)
        }
        let item = Item(time: time, sequence: nextSequence, place: place)
        nextSequence += 1
        items.append(item)
        var child = items.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard item.precedes(items[parent]) else { break }
            items[child] = items[parent]
            child = parent
        }
        items[child] = item
    }

    mutating func takeFirst() -> (time: TrueTime, occurrence: Occurrence)? {
        guard let first = items.first, let last = items.popLast() else { return nil }
        if !items.isEmpty {
            var parent = 0
            while true {
                var least = 2 * parent + 1
                guard least < items.count else { break }
                if least + 1 < items.count, items[least + 1].precedes(items[least]) { least += 1 }
                guard items[least].precedes(last) else { break }
                items[parent] = items[least]
                parent = least
            }
            items[parent] = last
        }
        guard let occurrence = occurrences[first.place] else { preconditionFailure("what is on the agenda lies in its place") }
        occurrences[first.place] = nil
        freePlaces.append(first.place)
        return (first.time, occurrence)
    }
}
