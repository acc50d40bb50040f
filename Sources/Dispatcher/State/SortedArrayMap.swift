// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// A map as two arrays sorted by key, and a queue: the only containers of the replicated state. Their order is the same in every process,
// which `Dictionary` does not promise. Look-up is a binary search; insertion moves what lies behind, which is cheap at our limits.

struct SortedArrayMap<Key: Comparable & Hashable & Sendable, Value: Hashable & Sendable>: Hashable, Sendable {
    private(set) var keys: [Key] = []
    private(set) var values: [Value] = []

    init() {}
    /// For whoever has seen that the keys rise and that there is a value for each.
    init(uncheckedKeys keys: [Key], values: [Value]) {
        self.keys = keys
        self.values = values
    }

    var count: Int { keys.count }
    var isEmpty: Bool { keys.isEmpty }

    /// The position of the first key that is not below `key`.
    func lowerBound(of key: Key) -> Int {
        var low = 0
        var high = keys.count
        while low < high {
            let middle = low + (high - low) / 2
            if keys[middle] < key { low = middle + 1 } else { high = middle }
        }
        return low
    }

    func position(of key: Key) -> Int? {
        let position = lowerBound(of: key)
        return position < keys.count && keys[position] == key ? position : nil
    }

    /// Setting nil removes the key.
    subscript(key: Key) -> Value? {
        get {
            guard let position = position(of: key) else { return nil }
            return values[position]
        }
        set {
            let position = lowerBound(of: key)
            let isPresent = position < keys.count && keys[position] == key
            switch (newValue, isPresent) {
            case (let value?, true): values[position] = value
            case (let value?, false):
                keys.insert(key, at: position)
                values.insert(value, at: position)
            case (nil, true):
                keys.remove(at: position)
                values.remove(at: position)
            case (nil, false): break
            }
        }
    }

    /// Changes a value where it stands; returns nil, and does nothing, if the key is not there.
    @discardableResult
    mutating func update<Result>(_ key: Key, _ body: (inout Value) -> Result) -> Result? {
        guard let position = position(of: key) else { return nil }
        return body(&values[position])
    }

    /// Removes what stands at these positions, in any order, in one go: each by itself would move what lies behind it.
    mutating func remove(at positions: [Int]) {
        guard positions.count > 1 else {
            if let position = positions.first {
                keys.remove(at: position)
                values.remove(at: position)
            }
            return
        }
        let positions = positions.sorted()
        var next = 0
        var kept = positions[0]
        for position in positions[0]..<keys.count {
            while next < positions.count, positions[next] < position { next += 1 }
            if next < positions.count, positions[next] == position { continue }
            keys.swapAt(kept, position)
            values.swapAt(kept, position)
            kept += 1
        }
        keys.removeLast(keys.count - kept)
        values.removeLast(values.count - kept)
    }

    mutating func removeFirst(_ count: Int) {
        keys.removeFirst(count)
        values.removeFirst(count)
    }
}

/// First in, first out; equal if what it still holds is equal.
struct Queue<Element: Hashable & Sendable>: Hashable, Sendable {
    private var elements: [Element] = []
    private var head = 0

    var count: Int { elements.count - head }
    var first: Element? { head < elements.count ? elements[head] : nil }
    var live: ArraySlice<Element> { elements[head...] }

    mutating func append(_ element: Element) { elements.append(element) }
    mutating func removeFirst() {
        guard head < elements.count else { return }
        head += 1
        if head >= 64, head * 2 >= elements.count {
            elements.removeFirst(head)
            head = 0
        }
    }

    static func == (left: Queue, right: Queue) -> Bool { left.live == right.live }
    func hash(into hasher: inout Hasher) { hasher.combine(live) }
}
