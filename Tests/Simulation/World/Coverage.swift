// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What a run met. A proof by seeds says nothing about what never happened, so a zero anywhere in the sum fails a whole run of the runner.

package enum Happening: Int, CaseIterable, Sendable {
    case elections, commits, leaderCrashes, followerCrashes, clusterCrashes, unsyncedCrashes, tornSectors, processKills, killsWithinFlushes,
        fastRestarts
    case diskFailures, fullDisks, slowDisks, stalledLeaders, hungDisks, damagedDisks, rolledBackDisks, membersLost
    case oneWayPartitions, fullPartitions, rings, swizzles, connectionsReset, isolatedLeaders, leadersHearingLate
    case messagesStuck, linksOverflowed, lostMessages, duplicatedMessages, reorderedMessages, slowMessages, staleMessages
    case clocksBeyondTheBound, driftedClocks, rateChanges, wrongCalendars, leadersOffTheCalendar
    case pausesOfMembers, pausesBeforeSteps, pausesBeforeEffects
    case faultsMade, membersLeftInTrouble, crashLoops, leadersWritingAlone, drains, transfersAsked, transfersDone, handoversLate
    case requestsAsked, requestsSettled, requestsForwarded, requestsRetried, requestsRepeatedAfterAnswer, requestsGivenUp, callersGone,
        leadersWorkForged
    case identifiersReused, duplicatesInTheLog
    case readsLinearizable, readsAtFollowers, readsUnderTheLease, readsAtOtherLeaders, reportsGathered, historiesJudged
    case certificatesRecorded, obligationsResumed, signaturesDropped, signaturesImpossible, lateSignatures
    case pairingsApproved, pairingsDenied
    case rotationsActivated, rotationsAborted, identitiesConfirmed, identitiesRemoved, identitiesRetired
    case certificatesRevoked, revokedTurnedAway
    case tagsLearned
    case versionsRaised
    /// The release that was put back does not know the rules in force.
    case membersTooOld
    /// A member that did not know the newest rules came back with a release that does.
    case membersUpgraded
    case membersInvited, tokensRefused, joinersThatNeverCame, membersPromoted, membersRemoved, leadersRemoved
    case removedMembersTold, removedMembersThatStay
    case agentsOff, agentAnswersLost, identitiesTurnedAway, presentationsCorrected
    case snapshotsTaken, snapshotWritesInterrupted, snapshotsOffered, snapshotsGone, fetchesGivenUp, snapshotsInstalled, installsInterrupted
    case logsCut, journalsCut, startsFromSnapshots
    case truncatedLogs, damagedJournalsRefused, promisesAcrossRestarts, effectsPastTheirLease

    /// As a person reads it.
    package var label: String {
        var words = ""
        for character in "\(self)" {
            if character.isUppercase { words += " " }
            words += character.lowercased()
        }
        return words
    }
}

package struct Coverage: Sendable {
    private var counts = [UInt64](repeating: 0, count: Happening.allCases.count)
    package init() {}
    package subscript(happening: Happening) -> UInt64 {
        get { counts[happening.rawValue] }
        set { counts[happening.rawValue] = newValue }
    }
    mutating func note(_ happening: Happening) { counts[happening.rawValue] += 1 }
    package mutating func add(_ other: Coverage) {
        for happening in Happening.allCases { self[happening] += other[happening] }
    }
    package var missing: [Happening] { Happening.allCases.filter { self[$0] == 0 } }
}
