// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The record of a run that this member has not: one of the others may have it, for each keeps those of the runs that it made.

import Consensus
import CtrlExec
import Wire

package enum RunFinding: Hashable, Sendable {
    case found([UInt8])
    /// Every other member says that it has no such record.
    case absent
    /// Nobody has it of those who answered; these did not.
    case unanswered([MemberID])
}

/// Asks the other members.
package protocol RunSeeking: Sendable {
    func seek(_ reqid: Reqid, patience: Duration) async -> RunFinding
}

package struct RunLookup: RunSeeking {
    private let links: BulkLinks
    private let recordBytes: Int

    /// - Parameter recordBytes: a larger record is not taken.
    package init(links: BulkLinks, recordBytes: Int) {
        self.links = links
        self.recordBytes = recordBytes
    }

    /// All at once; the first that has it is believed, and the others are not waited for.
    package func seek(_ reqid: Reqid, patience: Duration) async -> RunFinding {
        await withTaskGroup(of: (MemberID, Result<[UInt8]?, BulkFailure>).self) { group in
            for member in links.others {
                group.addTask {
                    do throws(BulkFailure) {
                        return (
                            member,
                            .success(try await links.fetch(.runRecord(reqid), from: member, limit: recordBytes, patience: patience))
                        )
                    } catch {
                        return (member, .failure(error))
                    }
                }
            }
            var silent: [MemberID] = []
            for await (member, answer) in group {
                switch answer {
                case .success(let record?):
                    group.cancelAll()
                    return .found(record)
                case .success(nil): break
                case .failure: silent.append(member)
                }
            }
            return silent.isEmpty ? .absent : .unanswered(silent.sorted())
        }
    }
}
