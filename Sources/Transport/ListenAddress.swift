// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Where a port listens, and how it gets there: bound by us, a unix socket with its mode and group, or a socket that systemd bound for us.

import Glibc
import NIOCore
import NIOPosix
import Platform

package enum ListenAddress: Hashable, Sendable, CustomStringConvertible {
    /// Port 0: any free one.
    case tcp(host: String, port: Int)
    /// An existing socket file is replaced if nobody answers there.
    case unix(path: String, mode: UInt32, group: UInt32?)
    /// One that the service manager bound and that was looked at (`InheritedSockets`). Its file, if it has one, stays the service manager's.
    case inherited(descriptor: Int32)

    package var description: String {
        switch self {
        case .tcp(let host, let port): "\(host.contains(":") ? "[\(host)]" : host):\(port)"
        case .unix(let path, _, _): path
        case .inherited(let descriptor): "the inherited socket \(descriptor)"
        }
    }
}

extension ListenAddress {
    /// The file of a unix socket, also of one that was inherited; nil for TCP.
    package var socketPath: String? {
        switch self {
        case .tcp: nil
        case .unix(let path, _, _): path
        case .inherited(let descriptor):
            if case .unix(let path) = InheritedSockets.address(of: descriptor) { path } else { nil }
        }
    }
}

/// Why a port does not listen.
package struct ListenFailure: Error, Hashable, Sendable, CustomStringConvertible {
    package let description: String
    /// Another process has the address.
    package let isInUse: Bool
    /// Trying again does not help: whoever configured it must do something.
    package let isPermanent: Bool
    package init(_ description: String, isInUse: Bool = false, isPermanent: Bool = false) {
        self.description = description
        self.isInUse = isInUse
        self.isPermanent = isPermanent
    }
}

extension ServerBootstrap {
    func listen(at address: ListenAddress) async throws -> any Channel {
        do {
            switch address {
            case .tcp(let host, let port): return try await bind(host: host, port: port).get()
            case .unix(let path, let mode, let group):
                return try await withBoundSocket(boundUnixSocket(path: path, mode: mode, group: group)).get()
            case .inherited(let descriptor): return try await withBoundSocket(descriptor).get()
            }
        } catch let failure as ListenFailure {
            throw failure
        } catch let error as IOError where error.errnoCode == EADDRINUSE {
            throw ListenFailure(
                "cannot listen on \(address): the address is in use by another process (ss -ltnp shows which)", isInUse: true)
        } catch let error as IOError where error.errnoCode == EACCES {
            throw ListenFailure(
                "cannot listen on \(address): permission denied (ports under 1024 need root or CAP_NET_BIND_SERVICE)", isPermanent: true)
        } catch {
            throw ListenFailure("cannot listen on \(address): \(plainReason(of: error))")
        }
    }
}

/// A unix socket that is nobody's but ours until it has its group and its mode.
private func boundUnixSocket(path: String, mode: UInt32, group: UInt32?) throws -> CInt {
    func failure(_ what: String) -> ListenFailure {
        let isPermanent = [EACCES, EPERM, ENOENT, ENOTDIR, EROFS, ELOOP].contains(errno)
        return ListenFailure("cannot listen on \(path): \(what): \(String(cString: strerror(errno)))", isPermanent: isPermanent)
    }
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let room = MemoryLayout.size(ofValue: address.sun_path)
    guard path.utf8.count < room else {
        throw ListenFailure("cannot listen on \(path): the path is longer than \(room - 1) bytes", isPermanent: true)
    }
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }

    let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { throw failure("no socket") }
    do {
        var status = stat()
        if lstat(path, &status) == 0 {
            guard status.st_mode & S_IFMT == S_IFSOCK else {
                throw ListenFailure("cannot listen on \(path): a file that is no socket is there", isPermanent: true)
            }
            guard !isAnswered(address) else {
                throw ListenFailure(
                    "cannot listen on \(path): another process answers there (stop it first, or give this one another socket)",
                    isInUse: true)
            }
            guard unlink(path) == 0 else { throw failure("cannot remove the old socket") }
        }
        // Linux gives the file the mode of the socket: no moment at which others could connect.
        guard fchmod(descriptor, 0o600) == 0 else { throw failure("cannot protect the socket") }
        let bound = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
        }
        guard bound == 0 else { throw failure("cannot bind") }
        if let group { guard chown(path, uid_t.max, group) == 0 else { throw failure("cannot give the socket to group \(group)") } }
        guard chmod(path, mode_t(mode)) == 0 else { throw failure("cannot set the socket's mode") }
        return descriptor
    } catch {
        close(descriptor)
        throw error
    }
}

/// Whether somebody listens at the unix socket. One whose queue is full, or that we may not connect to, counts as living too.
private func isAnswered(_ address: sockaddr_un) -> Bool {
    let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
    guard descriptor >= 0 else { return true }
    defer { close(descriptor) }
    let connected = withUnsafePointer(to: address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
    }
    return connected == 0 || (errno != ECONNREFUSED && errno != ENOENT)
}
