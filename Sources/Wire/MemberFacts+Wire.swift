// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// A member's facts in bytes. A member of an older version says nothing of them.

import Consensus

extension ProtoMemberFacts {
    init(_ facts: MemberFacts) {
        if let disk = facts.disk {
            diskFreeBytes = disk.freeBytes
            diskTotalBytes = disk.totalBytes
        }
        if let notAfter = facts.certificateNotAfter { certificateNotAfter = notAfter.secondsSince1970 }
        switch facts.projection {
        case .off: break
        case .waiting: projection = .waiting
        case .following: projection = .following
        case .failing(let problem):
            projection = .failing
            projectionProblem = problem
        }
        keptAside = facts.keptAside
        keptAsideExample = facts.keptAsideExample
        operationsPort = UInt32(facts.operationsPort ?? 0)
    }
}

extension MemberFacts {
    init(_ proto: ProtoMemberFacts) throws(WireFailure) {
        let projection: Projection
        switch proto.projection {
        case .unset: projection = .off
        case .waiting: projection = .waiting
        case .following: projection = .following
        case .failing: projection = .failing(try checked(proto.projectionProblem, "problem of a projection"))
        case .UNRECOGNIZED: throw .malformed("state of a projection")
        }
        self.init(
            disk: proto.hasDiskFreeBytes ? DiskSpace(freeBytes: proto.diskFreeBytes, totalBytes: proto.diskTotalBytes) : nil,
            certificateNotAfter: proto.hasCertificateNotAfter ? WallClock(secondsSince1970: proto.certificateNotAfter) : nil,
            projection: projection, keptAside: proto.keptAside, keptAsideExample: try checked(proto.keptAsideExample, "path"),
            operationsPort: proto.operationsPort == 0
                ? nil : try required(UInt16(exactly: proto.operationsPort), "port \(proto.operationsPort)"))
    }
}
