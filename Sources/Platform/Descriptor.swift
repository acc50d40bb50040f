// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// A file descriptor that is closed when its last owner lets go of it.

import Glibc

final class Descriptor: Sendable {
    let number: Int32
    init(_ number: Int32) { self.number = number }
    // Nothing is lost with an error here: whoever needs the data on disk has synchronized them before.
    deinit { close(number) }
}
