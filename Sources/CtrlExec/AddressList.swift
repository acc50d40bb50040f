// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The agent's `allowed_ips`: IPv4 addresses and networks (protocol page, 8.3). Wider than the original, which knows /8, /16 and /24 only.

package struct AddressList: Hashable, Sendable {
    private struct Network: Hashable, Sendable {
        let address: UInt32
        let mask: UInt32
    }
    private var networks: [Network] = []

    /// Comma-separated; nil names the first item that is no IPv4 address or network.
    package static func parse(_ text: String) -> (list: AddressList, malformed: [String]) {
        var list = AddressList()
        var malformed: [String] = []
        for item in text.split(separator: ",").map({ $0.trimmedOfWhiteSpace }) where !item.isEmpty {
            let parts = item.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
            let length = parts.count == 2 ? Int(parts[1]) : parts.count == 1 ? 32 : nil
            guard let address = address(parts[0]), let length, (0...32).contains(length) else {
                malformed.append(item)
                continue
            }
            let mask: UInt32 = length == 0 ? 0 : ~UInt32(0) << UInt32(32 - length)
            list.networks.append(Network(address: address & mask, mask: mask))
        }
        return (list, malformed)
    }

    package var isEmpty: Bool { networks.isEmpty }

    /// An IPv6 peer is in no list; an IPv4 address mapped into IPv6 is taken as what it is.
    package func contains(_ text: String) -> Bool {
        let mapped = "::ffff:"
        let plain = text.lowercased().hasPrefix(mapped) ? String(text.dropFirst(mapped.count)) : text
        guard let address = AddressList.address(plain) else { return false }
        return networks.contains { address & $0.mask == $0.address }
    }

    private static func address(_ text: String) -> UInt32? {
        let octets = text.split(separator: ".", omittingEmptySubsequences: false)
        guard octets.count == 4 else { return nil }
        var value: UInt32 = 0
        for octet in octets {
            guard (1...3).contains(octet.utf8.count), octet.utf8.allSatisfy({ $0.isASCIIDigit }), let number = UInt32(octet), number < 256
            else {
                return nil
            }
            value = value << 8 | number
        }
        return value
    }
}
