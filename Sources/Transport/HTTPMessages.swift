// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Requests and responses as values, and the bytes of a response head: those of the original programs (protocol page, 5.2).

import CtrlExec
import NIOCore

package typealias HTTPHeader = (name: String, value: String)

/// One complete request, its body included.
package struct HTTPRequest: Sendable {
    package let method: String
    /// Exactly as sent, a query string included.
    package let path: String
    package let headers: [HTTPHeader]
    package let body: [UInt8]
    /// Who presented a certificate that passed the check, at this request too. Nil: nobody did, or there is no TLS.
    package let peer: Peer?
    package let remoteAddress: RemoteAddress
    /// On a unix socket: the process at the other end.
    package let unixCredentials: UnixCredentials?

    package init(
        method: String, path: String, headers: [HTTPHeader], body: [UInt8], peer: Peer?, remoteAddress: RemoteAddress,
        unixCredentials: UnixCredentials?
    ) {
        self.method = method
        self.path = path
        self.headers = headers
        self.body = body
        self.peer = peer
        self.remoteAddress = remoteAddress
        self.unixCredentials = unixCredentials
    }

    /// The last value under this name, whatever its case (protocol page, 5.1).
    package func header(_ name: String) -> String? { value(of: name, in: headers) }
}

package struct HTTPResponse: Sendable {
    package var status: Int
    package var contentType: String
    package var headers: [HTTPHeader]
    package var body: [UInt8]

    package init(status: Int, json body: [UInt8], headers: [HTTPHeader] = []) {
        self.init(status: status, contentType: "application/json", body: body, headers: headers)
    }

    package init(status: Int, contentType: String, body: [UInt8], headers: [HTTPHeader] = []) {
        self.status = status
        self.contentType = contentType
        self.headers = headers
        self.body = body
    }

    /// `HTTP/1.0 200 OK`, type, length, the extra headers, the body. No `Date`, `Server` or `Connection`.
    func write(into buffer: inout ByteBuffer, withoutBody: Bool) {
        buffer.writeString("HTTP/1.0 \(status) \(StatusPhrases.phrase(status))\r\n")
        for header in [("Content-Type", contentType), ("Content-Length", String(body.count))] + headers {
            buffer.writeString("\(Self.oneLine(header.0)): \(Self.oneLine(header.1))\r\n")
        }
        buffer.writeString("\r\n")
        if !withoutBody { buffer.writeBytes(body) }
    }

    /// What goes into a header stays in its line, whoever chose the text.
    private static func oneLine(_ text: String) -> String {
        guard text.utf8.contains(where: { $0 < 32 || $0 == 127 }) else { return text }
        return String(decoding: text.utf8.map { $0 < 32 || $0 == 127 ? 32 : $0 }, as: UTF8.self)
    }
}

func value(of name: String, in headers: [HTTPHeader]) -> String? {
    let name = name.lowercased()
    return headers.last { $0.name.lowercased() == name }?.value
}
