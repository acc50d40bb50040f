// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Who has a port: so that "address already in use" names somebody.

import Glibc

package struct ListeningProcess: Hashable, Sendable {
    package let pid: Int32
    /// As the kernel shows it, at most 15 bytes.
    package let name: String

    /// `ced (process 4711)`, to stand in a message; nil: nobody whom we may see.
    package static func names(on port: Int) -> String? {
        let holders = all(on: port).map { "\($0.name) (process \($0.pid))" }
        return holders.isEmpty ? nil : holders.joined(separator: ", ")
    }

    /// The processes that listen on the TCP port of this host; those of other users only if we are root.
    package static func all(on port: Int) -> [ListeningProcess] {
        let inodes = ["/proc/net/tcp", "/proc/net/tcp6"].flatMap { sockets(in: $0, listeningOn: port) }
        guard !inodes.isEmpty else { return [] }
        // A process that ended meanwhile, or that is not ours to look into, is passed over.
        let pids = ((try? SharedFile.names(in: "/proc")) ?? []).compactMap(Int32.init)
        return pids.filter { holds($0, oneOf: inodes) }.map { ListeningProcess(pid: $0, name: name(of: $0)) }
    }

    /// Lines of `/proc/net/tcp`: `0: 0100007F:1D13 00000000:0000 0A … uid timeout inode …`; 0A is "listens".
    private static func sockets(in table: String, listeningOn port: Int) -> [String] {
        // Without IPv6 there is no second table.
        let text = (try? DurableFile.read(table, limit: 64 << 20)) ?? []
        return String(decoding: text, as: UTF8.self).split(separator: "\n").compactMap { line in
            let words = line.split(separator: " ")
            guard words.count > 9, words[3] == "0A", words[1].split(separator: ":").last.flatMap({ Int($0, radix: 16) }) == port else {
                return nil
            }
            return "socket:[\(words[9])]"
        }
    }

    private static func holds(_ pid: Int32, oneOf sockets: [String]) -> Bool {
        // As above.
        for descriptor in (try? SharedFile.names(in: "/proc/\(pid)/fd")) ?? [] {
            var target = [CChar](repeating: 0, count: 256)
            let count = readlink("/proc/\(pid)/fd/\(descriptor)", &target, target.count)
            guard count > 0 else { continue }
            if sockets.contains(String(decoding: target[..<count].map(UInt8.init(bitPattern:)), as: UTF8.self)) { return true }
        }
        return false
    }

    private static func name(of pid: Int32) -> String {
        // As above.
        let name = (try? DurableFile.read("/proc/\(pid)/comm")) ?? []
        return String(decoding: name.prefix { $0 != 10 }, as: UTF8.self)
    }
}
