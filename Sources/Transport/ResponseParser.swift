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
        case body(status: Int, headers: [HTTPHeader], length: Int)
        case chunkSize(status: Int, headers: [HTTPHeader], soFar: [UInt8])
        case chunk(status: Int, headers: [HTTPHeader], soFar: [UInt8], length: Int)
        case trailers(status: Int, headers: [HTTPHeader], body: [UInt8])
        case untilEnd(status: Int, headers: [HTTPHeader])
    }

    private static let headLimit = 65_536
    private static let headerLimit = 128
    private let bodyLimit: Int
    /// Whether the request was HEAD: the response has no body, whatever its length says.
    private let withoutBody: Bool
    private var state = State.head
    /// What has not been understood yet, from `position` on.
    private var bytes: [UInt8] = []
    private var position = 0

    init(bodyLimit: Int, withoutBody: Bool = false) {
        self.bodyLimit = bodyLimit
        self.withoutBody = withoutBody
    }

    /// Nothing of a further response has arrived.
    var isBetweenResponses: Bool {
        if case .head = state { return position == bytes.count }
        return false
    }

    mutating func append(_ more: some Sequence<UInt8>) { bytes.append(contentsOf: more) }

    /// The next complete response, nil if more bytes are needed.
    mutating func next() throws(Failure) -> Message? {
        while true {
            switch state {
            case .head:
                guard let head = try takeHead() else { return nil }
                // 100 Continue and its like come before the response.
                if (100..<200).contains(head.status) { continue }
                if withoutBody || head.status == 204 || head.status == 304 {
                    return Message(status: head.status, headers: head.headers, body: [])
                }
                state = try framing(status: head.status, headers: head.headers)
            case .body(let status, let headers, let length):
                guard bytes.count - position >= length else { return nil }
                let body = take(length)
                state = .head
                return Message(status: status, headers: headers, body: body)
            case .chunkSize(let status, let headers, let soFar):
                guard let line = try takeLine(limit: 1024) else { return nil }
                let digits = line.prefix { $0 != ";" }.trimmed
                guard (1...8).contains(digits.utf8.count), let length = Int(digits, radix: 16), length >= 0 else {
                    throw .malformed("a chunk's length is not a number")
                }
                guard soFar.count + length <= bodyLimit else { throw .tooLarge }
                state =
                    length == 0
                    ? .trailers(status: status, headers: headers, body: soFar)
                    : .chunk(status: status, headers: headers, soFar: soFar, length: length)
            case .chunk(let status, let headers, let soFar, let length):
                guard bytes.count - position >= length + 2 else { return nil }
                let data = take(length)
                guard take(2) == [13, 10] else { throw .malformed("a chunk is longer than it says") }
                state = .chunkSize(status: status, headers: headers, soFar: soFar + data)
            case .trailers(let status, let headers, let body):
                guard let line = try takeLine(limit: Self.headLimit) else { return nil }
                guard line.isEmpty else { continue }
                state = .head
                return Message(status: status, headers: headers, body: body)
            case .untilEnd:
                guard bytes.count - position <= bodyLimit else { throw .tooLarge }
                return nil
            }
        }
    }

    /// The connection has ended in order: completes a response that had no length.
    mutating func end() -> Message? {
        guard case .untilEnd(let status, let headers) = state else { return nil }
        state = .head
        return Message(status: status, headers: headers, body: take(bytes.count - position))
    }

    private mutating func takeHead() throws(Failure) -> (status: Int, headers: [HTTPHeader])? {
        var lines: [String] = []
        var next = position
        while true {
            guard let end = bytes[next...].firstIndex(of: 10) else {
                guard bytes.count - position <= Self.headLimit else { throw .malformed("the head of the response does not end") }
                return nil
            }
            let line = bytes[next..<end]
            next = end + 1
            guard next - position <= Self.headLimit else { throw .malformed("the head of the response is too long") }
            let text = String(decoding: line.last == 13 ? line.dropLast() : line, as: UTF8.self)
            if text.isEmpty {
                // An empty line before the status line is passed over (RFC 9112, 2.2).
                if lines.isEmpty { continue }
                break
            }
            lines.append(text)
            guard lines.count <= Self.headerLimit else { throw .malformed("the response has too many headers") }
        }
        discard(next - position)
        let words = lines[0].split(separator: " ", maxSplits: 2)
        guard words.count >= 2, words[0].hasPrefix("HTTP/1."), words[1].utf8.count == 3, let status = Int(words[1]),
            (100...999).contains(status)
        else { throw .malformed("the answer is not HTTP") }
        var headers: [HTTPHeader] = []
        for line in lines.dropFirst() {
            guard let colon = line.firstIndex(of: ":") else { throw .malformed("a header without a colon") }
            headers.append((String(line[..<colon].trimmed), String(line[line.index(after: colon)...].trimmed)))
        }
        return (status, headers)
    }

    private func framing(status: Int, headers: [HTTPHeader]) throws(Failure) -> State {
        if let coding = value(of: "Transfer-Encoding", in: headers) {
            guard coding.lowercased() == "chunked" else { throw .malformed("the transfer coding \(coding.prefix(40)) is not understood") }
            return .chunkSize(status: status, headers: headers, soFar: [])
        }
        guard let text = value(of: "Content-Length", in: headers) else { return .untilEnd(status: status, headers: headers) }
        guard text.utf8.allSatisfy({ (48...57).contains($0) }), let length = Int(text) else {
            throw .malformed("the length is not a number")
        }
        guard length <= bodyLimit else { throw .tooLarge }
        return .body(status: status, headers: headers, length: length)
    }

    private mutating func takeLine(limit: Int) throws(Failure) -> String? {
        guard let end = bytes[position...].firstIndex(of: 10) else {
            guard bytes.count - position <= limit else { throw .malformed("a line does not end") }
            return nil
        }
        let line = bytes[position..<end]
        let text = String(decoding: line.last == 13 ? line.dropLast() : line, as: UTF8.self)
        discard(end + 1 - position)
        return text
    }

    private mutating func take(_ count: Int) -> [UInt8] {
        let taken = Array(bytes[position..<position + count])
        discard(count)
        return taken
    }

    private mutating func discard(_ count: Int) {
        position += count
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
