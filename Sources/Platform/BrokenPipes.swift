// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// A program that ends without reading what it is given must not end us.

import Glibc

package enum BrokenPipes {
    /// Once it was asked for, SIGPIPE does nothing. A handler that does nothing, where there is none: unlike an ignored signal it is not
    /// passed on to the programs that we start.
    package static let areHarmless: Void = {
        var action = sigaction()
        guard sigaction(SIGPIPE, nil, &action) == 0, action.__sigaction_handler.sa_handler == nil else { return }
        signal(SIGPIPE) { _ in }
    }()
}
