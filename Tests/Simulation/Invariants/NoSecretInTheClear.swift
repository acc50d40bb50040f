// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// No message, no file and no line of a log contains a secret as it is. Secrets of the simulated world begin with a mark by which they are
// found wherever they lie; what is sealed does not show it.

import Consensus

package struct NoSecretInTheClear: Sendable {
    /// Eight bytes that nothing else begins with.
    package static let mark: [UInt8] = [0x01, 0x73, 0xe5, 0xc3, 0x9e, 0x74, 0x02, 0x5a]
    package init() {}

    package static func secret(_ name: String) -> [UInt8] { mark + Array(name.utf8) }
    /// As the simulated sealing does it: nobody can read it, and that is all that matters here.
    package static func sealed(_ secret: [UInt8]) -> [UInt8] { secret.map { $0 ^ 0xa5 } }

    package func leaves(_ member: MemberID, _ bytes: [UInt8], as what: @autoclosure () -> String) throws(Broken) {
        guard contains(bytes) else { return }
        throw Broken("NoSecretInTheClear", [member], "\(what()) contains a secret in the clear")
    }

    private func contains(_ bytes: [UInt8]) -> Bool {
        let mark = NoSecretInTheClear.mark
        return bytes.withUnsafeBufferPointer { bytes in
            guard bytes.count >= mark.count else { return false }
            for place in 0...(bytes.count - mark.count) where bytes[place] == mark[0] {
                var length = 1
                while length < mark.count, bytes[place + length] == mark[length] { length += 1 }
                if length == mark.count { return true }
            }
            return false
        }
    }
}
