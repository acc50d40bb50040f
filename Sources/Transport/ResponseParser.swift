// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// HTTP/1.0 and 1.1 responses, several on one connection: what Perl agents, pairing servers and our own ports send. The general decoder
// counts responses against requests and so cannot read the second response of a pairing; hence this one, a value, bounded in all it keeps.

/// One complete response.
package struct HTTPReply: Sendable {
    package let status: Int
    package let headers: [HTTPHeader]
    package let body: [UInt8]
    /// Who answered; nil without TLS.
    package let peer: Peer?

    /// The last value under this name, whatever its case.
    package func header(_ name: String) -> String? { value(of: name, in: headers) }
}

struct ResponseParser {
    struct Message {
        let status: Int
        let headers: [HTTPHeader]
        let body: [UInt8]
    }

    enum Failure: Error, Hashable {
        case tooLarge
        case malformed(String)
    }

    private enum State {
        case head
        case body(length: Int)
        case chunkSize
        /// So many bytes of it, and the end of its line, are still to come.
        case chunk(left: Int)
        case trailers
        case untilEnd
    }

    private static let headLimit = 65_536
    /// Header lines of a response, and as many lines behind its last chunk.
    private static let headerLimit = 128
    /// Answers before the answer.
    private static let interimLimit = 8
    private let bodyLimit: Int
    /// Whether the request was HEAD: the response has no body, whatever its length says.
    private let withoutBody: Bool
    private var state = State.head
    /// What has not been understood yet, from `position` on.
    private var bytes: [UInt8] = []
    private var position = 0
    /// So many bytes from `position` on hold no end of a line.
    private var searched = 0

    // Of the response that is being read.
    private var lines: [String] = []
    private var lineBytes = 0
    private var interims = 0
    private var status = 0
    private var headers: [HTTPHeader] = []
    private var body: [UInt8] = []
    private var trailers = 0

    init(bodyLimit: Int, withoutBody: Bool = false) {
        self.bodyLimit = bodyLimit
        self.withoutBody = withoutBody
    }

    /// Nothing of a further response has arrived.
    var isBetweenResponses: Bool {
        if case .head = state { return position == bytes.count && lines.isEmpty }
        return false
    }

    mutating func append(_ more: some Sequence<UInt8>) { bytes.append(contentsOf: more) }

    /// The next complete response, nil if more bytes are needed.
    mutating func next() throws(Failure) -> Message? {
        while true {
            switch state {
            case .head:
                guard try takeHead() else { return nil }
                // 100 Continue and its like come before the response.
                if (100..<200).contains(status) {
                    interims += 1
                    guard interims <= Self.interimLimit else { throw .malformed("too many answers come before the answer") }
                    continue
                }
                if withoutBody || status == 204 || status == 304 { return message() }
                state = try framing()
            case .body(let length):
                body.append(contentsOf: take(atMost: length - body.count))
                guard body.count == length else { return nil }
                return message()
            case .chunkSize:
                guard let line = try takeLine(limit: 1024) else { return nil }
                let digits = line.prefix { $0 != ";" }.trimmed
                guard (1...8).contains(digits.utf8.count), let length = Int(digits, radix: 16), length >= 0 else {
                    throw .malformed("a chunk's length is not a number")
                }
                guard body.count + length <= bodyLimit else { throw .tooLarge }
                state = length == 0 ? .trailers : .chunk(left: length)
            case .chunk(let left):
                let data = take(atMost: left)
                body.append(contentsOf: data)
                state = .chunk(left: left - data.count)
                guard left == data.count, bytes.count - position >= 2 else { return nil }
                guard take(atMost: 2) == [13, 10] else { throw .malformed("a chunk is longer than it says") }
                state = .chunkSize
            case .trailers:
                guard let line = try takeLine(limit: Self.headLimit) else { return nil }
                if line.isEmpty { return message() }
                trailers += 1
                guard trailers <= Self.headerLimit else { throw .malformed("too many lines follow the last chunk") }
            case .untilEnd:
                guard body.count + bytes.count - position <= bodyLimit else { throw .tooLarge }
                body.append(contentsOf: take(atMost: bytes.count - position))
                return nil
            }
        }
    }

    /// The connection has ended in order: completes a response that had no length.
    mutating func end() -> Message? {
        guard case .untilEnd = state else { return nil }
        return message()
    }

    /// What has been read, and ready for the next.
    private mutating func message() -> Message {
        defer {
            state = .head
            (headers, body, interims, trailers) = ([], [], 0, 0)
        }
        return Message(status: status, headers: headers, body: body)
    }

    /// False: more bytes are needed.
    private mutating func takeHead() throws(Failure) -> Bool {
        while true {
            guard lineBytes <= Self.headLimit else { throw .malformed("the head of the response is too long") }
            let before = bytes.count - position
            guard let line = try takeLine(limit: Self.headLimit - lineBytes) else { return false }
            lineBytes += before - (bytes.count - position)
            if line.isEmpty {
                // An empty line before the status line is passed over (RFC 9112, 2.2).
                if lines.isEmpty { continue }
                break
            }
            lines.append(line)
            guard lines.count <= Self.headerLimit else { throw .malformed("the response has too many headers") }
        }
        let head = lines
        (lines, lineBytes) = ([], 0)
        let words = head[0].split(separator: " ", maxSplits: 2)
        guard words.count >= 2, words[0].hasPrefix("HTTP/1."), words[1].utf8.count == 3, let status = Int(words[1]),
            (100...999).contains(status)
        else { throw .malformed("the answer is not HTTP") }
        var headers: [HTTPHeader] = []
        for line in head.dropFirst() {
            guard let colon = line.firstIndex(of: ":") else { throw .malformed("a header without a colon") }
            headers.append((String(line[..<colon].trimmed), String(line[line.index(after: colon)...].trimmed)))
        }
        (self.status, self.headers) = (status, headers)
        return true
    }

    private func framing() throws(Failure) -> State {
        if let coding = value(of: "Transfer-Encoding", in: headers) {
            guard coding.lowercased() == "chunked" else { throw .malformed("the transfer coding \(coding.prefix(40)) is not understood") }
            return .chunkSize
        }
        guard let text = value(of: "Content-Length", in: headers) else { return .untilEnd }
        guard text.utf8.allSatisfy({ (48...57).contains($0) }), let length = Int(text) else {
            throw .malformed("the length is not a number")
        }
        guard length <= bodyLimit else { throw .tooLarge }
        return .body(length: length)
    }

    private mutating func takeLine(limit: Int) throws(Failure) -> String? {
        guard let end = bytes[(position + searched)...].firstIndex(of: 10) else {
            searched = bytes.count - position
            guard searched <= limit else { throw .malformed("a line does not end") }
            return nil
        }
        let line = bytes[position..<end]
        let text = String(decoding: line.last == 13 ? line.dropLast() : line, as: UTF8.self)
        discard(end + 1 - position)
        return text
    }

    private mutating func take(atMost count: Int) -> [UInt8] {
        let taken = Array(bytes[position..<min(position + count, bytes.count)])
        discard(taken.count)
        return taken
    }

    private mutating func discard(_ count: Int) {
        position += count
        searched = 0
        if position == bytes.count {
            bytes.removeAll(keepingCapacity: true)
            position = 0
        } else if position > 65_536 {
            bytes.removeFirst(position)
            position = 0
        }
    }
}

extension Substring {
    fileprivate var trimmed: Substring {
        var text = self
        while let first = text.first, first == " " || first == "\t" { text.removeFirst() }
        while let last = text.last, last == " " || last == "\t" { text.removeLast() }
        return text
    }
}
