// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Options of sockets that NIO has no names for, and the flag that it does not set.

import Glibc
import NIOCore

extension ChannelOption where Self == ChannelOptions.Types.SocketOption {
    /// `TCP_USER_TIMEOUT`, in milliseconds: how long what was sent may stay unacknowledged before the connection counts as broken.
    static var unacknowledged: Self { .init(level: .tcp, name: .init(rawValue: CInt(TCP_USER_TIMEOUT))) }
    /// Seconds of silence after which the kernel asks whether the other host is still there (`SO_KEEPALIVE` must be on).
    static var keepaliveIdle: Self { .init(level: .tcp, name: .init(rawValue: CInt(TCP_KEEPIDLE))) }
    static var keepaliveInterval: Self { .init(level: .tcp, name: .init(rawValue: CInt(TCP_KEEPINTVL))) }
}

extension Channel {
    /// The socket is not passed on to a program that this process starts, nor to the one that looks at it after a crash and would hold its
    /// port meanwhile. On the channel's loop.
    package func closeOnExec() throws {
        try pipeline.syncOperations.withUnsafeTransportIfAvailable { (socket: NIOBSDSocket.Handle) in
            _ = fcntl(socket, F_SETFD, FD_CLOEXEC)
        }
    }
}
