// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Ports for a cluster on loopback. They lie below those from which the kernel serves outgoing connections: whoever binds one a moment
// later, or again after its death, must not find it taken by somebody's dialling.

import CtrlExec
import Glibc
import Platform

/// `count` TCP ports that nobody listens on. They are held until all are found, so that none is given twice.
func freePorts(_ count: Int) throws -> [UInt16] {
    let lowest: UInt16 = 10_240
    let candidates = Array(lowest..<max(lowest + 1, firstEphemeralPort()))
    // Somewhere among them, so that clusters which are made at the same time rarely meet.
    let start = Int.random(in: candidates.indices)
    var descriptors: [Int32] = []
    defer { for descriptor in descriptors { close(descriptor) } }
    var ports: [UInt16] = []
    for candidate in candidates[start...] + candidates[..<start] where ports.count < count {
        guard let descriptor = try bound(to: candidate) else { continue }
        descriptors.append(descriptor)
        ports.append(candidate)
    }
    guard ports.count == count else {
        throw CommandFailure(
            .failed, "only \(ports.count) of \(count) ports between \(lowest) and \(candidates.count + Int(lowest)) are free")
    }
    return ports
}

/// A socket that holds the port on every address; nil: somebody has it.
private func bound(to port: UInt16) throws -> Int32? {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { throw FileProblem("open", "a socket") }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    let isBound = withUnsafePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0 }
    }
    if isBound { return descriptor }
    close(descriptor)
    return nil
}

/// Where the kernel's own ports begin; Linux' default if it does not say.
private func firstEphemeralPort() -> UInt16 {
    let usual: UInt16 = 32_768
    // Without the file there is nothing better than the default.
    guard let bytes = try? DurableFile.read("/proc/sys/net/ipv4/ip_local_port_range") else { return usual }
    return String(decoding: bytes, as: UTF8.self).split(whereSeparator: \.isWhitespace).first.flatMap { UInt16($0) } ?? usual
}
