// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// A name for the state's certificate authority where Transport, which has one of its own, is imported too.

import DispatcherState

typealias StateAuthority = CertificateAuthority
